"""
Matches without the mistakes
============================

Whatever finds matches makes mistakes. Two photographs of one scene obey one fundamental matrix, and
a mistake seldom does: `FundamentalMatrix` is an outlier filter for matches of any origin. Here the
photographs are a rectified pair whose true matches are known, so that what it keeps can be counted.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.color import rgb2gray
from skimage.feature import ORB, match_descriptors

from fastmotion.datasets import load_motorcycle
from fastmotion.epipolar import FundamentalMatrix

pair = load_motorcycle()

# %%
# Binary descriptors are quick and easily confused. All nearest neighbours are taken, without a test
# of their quality.

features = []
for photograph in (pair.frame0, pair.frame1):
    orb = ORB(n_keypoints=1500, fast_threshold=0.03)
    orb.detect_and_extract(rgb2gray(photograph))
    features.append(orb)
partners = match_descriptors(features[0].descriptors, features[1].descriptors, cross_check=False)
matches = np.hstack(
    [orb.keypoints[i][:, ::-1] for orb, i in zip(features, partners.T, strict=True)]
)  # rows x1 y1 x2 y2

# %%
# Fit, and keep the inliers. These corners lie at whole pixels, of an image that was reduced before,
# so a threshold of two pixels suits. The estimator follows scikit-learn: ``predict`` tells for
# further matches whether they obey the matrix, ``score_samples`` gives their distances from it in
# pixels.

model = FundamentalMatrix(residual_threshold=2.0, random_state=0).fit(matches)
kept = matches[model.inlier_mask_]
print(f"{len(kept)} of {len(matches)} kept; degeneracy: {model.degeneracy_}")

# %%
# The measured flow tells where a point of the first picture lies in the second. A mistake that lies
# on its line by chance passes: the filter looks across the line, never along it. Below, distances
# are drawn from a hundredth of a pixel on; rows of a rectified pair often agree exactly.

x, y = matches[:, :2].round().astype(int).T
is_known = pair.mask[y, x]
error = np.full(len(matches), np.nan)
error[is_known] = np.linalg.norm(
    (matches[:, :2] + pair.flow[y, x] - matches[:, 2:])[is_known], axis=1
)
is_right = error < 5
for name, mask in {"all": is_known, "kept": is_known & model.inlier_mask_}.items():
    print(f"{name:5}: {np.mean(is_right[mask]):.1%} of {mask.sum()} matches are right")
print(f"right ones that were kept: {np.mean(model.inlier_mask_[is_right]):.1%}")

figure, axes = plt.subplots(2, 2, figsize=(10, 7.4), layout="constrained")
for ax, rows, title in zip(axes[0], (matches, kept), ("all matches", "kept")):
    ax.imshow(rgb2gray(pair.frame0), cmap="gray")
    ax.plot(rows[:, [0, 2]].T, rows[:, [1, 3]].T, color="C1", linewidth=0.6)
    ax.plot(*rows[:, :2].T, ".", color="C0", markersize=3)
    ax.set(title=title, xticks=[], yticks=[], xlim=(0, 741), ylim=(500, 0))
bins = np.geomspace(0.01, 700, 40)
for ax, values, label in zip(
    axes[1],
    (model.score_samples(matches), error),
    ("distance from the matrix (px)", "distance from the true place (px)"),
):
    values = np.maximum(values, bins[0])  # NaN, where the truth is unknown, stays and is not drawn
    ax.hist([values[model.inlier_mask_], values[~model.inlier_mask_]], bins, stacked=True)
    ax.set(xscale="log", xlabel=label, ylabel="matches")
axes[1, 0].legend(["kept", "dropped"])
plt.show()
