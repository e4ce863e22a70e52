"""
Two views, half of the matches wrong
====================================

A robust fundamental matrix, what it makes of the matches, and how sure it is of the lines on which
partners lie.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastmotion.datasets import make_two_view
from fastmotion.display import EpipolarDisplay
from fastmotion.epipolar import FundamentalMatrix, eight_point, sampson_distance

view = make_two_view("forward", n_matches=400, inlier_ratio=0.5, noise=1.0, random_state=0)

# %%
# A fit to all matches has no chance. RANSAC draws small samples until one is free of mistakes, and
# ``residual_threshold`` says how far from its line a match may lie in pixels. Here it is found with
# the rest: "auto" looks for the scale of the noise.

robust = FundamentalMatrix(residual_threshold="auto", random_state=0).fit(view.matches)
for name, F in {"all matches": eight_point(view.matches), "robust": robust.F_}.items():
    errors = sampson_distance(F, view.exact[view.inlier_mask])
    print(f"{name:11}: {np.median(errors):6.2f} px from exact matches (median)")

found, right = robust.inlier_mask_, view.inlier_mask
print(
    f"{np.sum(found & right)} of {np.sum(right)} right matches found, and {np.sum(found & ~right)} "
    "others that lie near their line by chance"
)
print(f"noise of {robust.noise_scale_:.2f} px, where 1.00 px was added")

# %%
# The camera moved forwards, so the epipoles (white stars) are in view: the place in each image
# where the other camera stands. All lines meet there. A point has the colour of the line that its
# partner gives it.

EpipolarDisplay.from_estimator(robust, view.matches, image_size=view.image_size)
plt.show()

# %%
# How sure is that? The covariance of the matrix gives each line a band. With 95 % probability it
# holds the partner of the line's point, the noise of both included. Above it is about as narrow as
# the lines. Matches of the left third of the first image alone tell less.

is_known = view.matches[:, 0] < 350
third = FundamentalMatrix(residual_threshold="auto", random_state=0).fit(view.matches[is_known])
unseen = view.matches[~is_known & view.inlier_mask]

# %%
# Does the band keep its promise? Count the partners in it. They share one matrix and its errors, so
# the share varies about 95 % from one set of matches to another.

band = third.epipolar_band(unseen[:, :2], probability=0.95, noise_scale=third.noise_scale_)
print(f"{np.mean(band.contains(unseen[:, 2:])):.1%} of {len(unseen)} partners are in their band")

# %%
# Bands are narrow where the matches were, and open beyond.

EpipolarDisplay.from_estimator(
    third, view.matches[is_known], image_size=view.image_size, points=unseen[:5]
)
plt.show()
