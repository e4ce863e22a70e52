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
from fastmotion.epipolar import FundamentalMatrix, sampson_distance

view = make_two_view("forward", n_matches=400, inlier_ratio=0.5, noise=1.0, random_state=3)

# %%
# A fit to all matches has no chance. RANSAC draws small samples until one is free of mistakes, and
# ``residual_threshold`` says how far from its line a match may lie in pixels. Here it is found with
# the rest: "auto" looks for the scale of the noise.

everything = FundamentalMatrix("eight_point").fit(view.matches)
robust = FundamentalMatrix(residual_threshold="auto", random_state=0).fit(view.matches)
for name, estimator in {"all matches": everything, "robust": robust}.items():
    errors = sampson_distance(estimator.F_, view.exact[view.inlier_mask])
    print(f"{name:11}: {np.median(errors):6.2f} px from exact matches (median)")
found, right = robust.inlier_mask_, view.inlier_mask
print(f"{np.sum(found & right)} of {np.sum(right)} right matches found, {np.sum(found & ~right)} ")
print(f"noise {robust.noise_scale_:.2f} px, where 1.00 px was added")

# %%
# The camera moved forwards, so the epipoles (white stars) are in view: the place in each image
# where the other camera stands. All lines meet there.

display = EpipolarDisplay.from_estimator(robust, view.matches, image_size=view.image_size)
plt.show()
