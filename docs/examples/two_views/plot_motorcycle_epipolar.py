"""
Two photographs to a fundamental matrix
=======================================

The cameras of the motorcycle pair stand side by side and look the same way, and its photographs are
rectified: a point lies in the same row of both. So the fundamental matrix is known exactly, and is
a special one, whose epipoles are at infinity. It is found here from the pictures alone, once from
matches of features, once from dense flow.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.color import rgb2gray
from skimage.feature import SIFT, match_descriptors

from fastmotion.datasets import load_motorcycle
from fastmotion.display import EpipolarDisplay
from fastmotion.epipolar import FundamentalMatrix, epipolar_lines
from fastmotion.flow import HornSchunck, forward_backward_error

pair = load_motorcycle()

# %%
# Matches of features
# -------------------
# Corners and blobs that look alike in both pictures. scikit-image finds them; any other library
# will do, as long as rows of matches are ``x1 y1 x2 y2`` in pixels. ``positions`` are rows and
# columns, hence the turn. What tells a match from a mistake is the ratio of the distances to the
# best and to the second best descriptor, here not too strict: mistakes are what RANSAC is for.

features = []
for photograph in (pair.frame0, pair.frame1):
    sift = SIFT()
    sift.detect_and_extract(rgb2gray(photograph))
    features.append(sift)
partners = match_descriptors(
    features[0].descriptors, features[1].descriptors, cross_check=True, max_ratio=0.9
)
matches = np.hstack(
    [sift.positions[i][:, ::-1] for sift, i in zip(features, partners.T, strict=True)]
)
from_features = FundamentalMatrix(residual_threshold="auto", random_state=0).fit(matches)

# %%
# Dense flow
# ----------
# Flow gives each pixel a partner. Where the way to the second picture and back misses its start by
# half a pixel, one camera alone sees the place; the rest are matches. One in eight rows and columns
# is plenty, as neighbours share their errors.

flow_estimator = HornSchunck()
forward = flow_estimator.estimate(pair.frame0, pair.frame1)
backward = flow_estimator.estimate(pair.frame1, pair.frame0)
rows, columns = np.mgrid[4 : forward.shape[0] : 8, 4 : forward.shape[1] : 8]
trusted = forward_backward_error(forward, backward)[rows, columns] < 0.5
starts = np.column_stack([columns[trusted], rows[trusted]])
flow_matches = np.hstack([starts, starts + forward[rows, columns][trusted]])
from_flow = FundamentalMatrix(residual_threshold="auto", random_state=0).fit(flow_matches)

# %%
# How far off?
# ------------
# The exact line of a pixel is its own row. An estimated line is off by its distance from the true
# partner of the pixel in that row, and by the angle that it makes with the row.

known = np.argwhere(pair.mask)[::50, ::-1].astype(float)
truth = known + pair.flow[pair.mask][::50]

for name, estimator in {"features": from_features, "flow": from_flow}.items():
    a, b, c = epipolar_lines(estimator.F_, known).T
    distance = np.abs(a * truth[:, 0] + b * truth[:, 1] + c)
    angle = np.degrees(np.arctan(np.abs(a / b)))
    print(
        f"{name:8}: {estimator.n_inliers_} of {estimator.inlier_mask_.size} matches are inliers; "
        f"lines are {np.mean(distance):.2f} px off on average, {np.max(distance):.2f} px at most, "
        f"and up to {np.max(angle):.2f}° askew"
    )

# %%
# Epipoles are homogeneous, so that infinity is a place like any other: the third number is next to
# nothing, and the first two are the direction of the lines.

print(from_flow.epipoles_.round(5))

# %%
# The picture
# -----------
# A point and the line that its partner gives it have the same colour. The first row is from
# features, the second from flow. So many matches agree that the bands around the lines, which hold
# partners with a probability of 95 %, are no wider than the lines.

figure = plt.figure(figsize=(9.6, 7.6), layout="constrained")
halves = figure.subfigures(2, 1)
images = pair.frame0, pair.frame1
for half, estimator, X in zip(
    halves, (from_features, from_flow), (matches, flow_matches), strict=True
):
    EpipolarDisplay.from_estimator(estimator, X, images=images, ax=half.subplots(1, 2))
plt.show()
