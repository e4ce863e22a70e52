"""
The threshold, and doing without
================================

``residual_threshold`` says how far from its line a right match may lie. It should be two to three
times the noise of a coordinate, which one seldom knows. How much does it matter, and how good is
``"auto"``, which looks for the noise along with the matrix?
"""

import matplotlib.pyplot as plt
import numpy as np

from fastmotion.datasets import make_two_view
from fastmotion.epipolar import FundamentalMatrix, sampson_distance

thresholds = np.geomspace(0.1, 30, 13)
noises = (0.3, 1.0, 3.0)
scenes = range(5)

# %%
# The error of a matrix is the median distance of exact matches from it, which the estimator never
# sees. Each value is the median over some scenes in which half of the matches are wrong.


def errors(noise, threshold):
    """Return the error in pixels, the share of inliers that are right, and of the right found."""
    results = []
    for seed in scenes:
        view = make_two_view(n_matches=500, inlier_ratio=0.5, noise=noise, random_state=seed)
        model = FundamentalMatrix(residual_threshold=threshold, random_state=0).fit(view.matches)
        distances = sampson_distance(model.F_, view.exact[view.inlier_mask])
        precision = np.mean(view.inlier_mask[model.inlier_mask_])
        recall = np.mean(model.inlier_mask_[view.inlier_mask])
        results.append((np.median(distances), precision, recall))
    return np.median(results, axis=0)


# %%
# The matrix itself forgives a wide range: its last fit weighs matches by the noise that they show,
# not by the threshold. What is called an inlier does depend on it, and so does the time of the
# search, which becomes long where right matches are taken for wrong ones. ``"auto"`` is about as
# good as the best threshold for each noise; it is the safe choice for points of unknown origin.

figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.9), layout="constrained")
for noise, color in zip(noises, ("C0", "C1", "C2")):
    curve = np.array([errors(noise, threshold) for threshold in thresholds])
    found = errors(noise, "auto")
    for ax, values, level in zip(axes, curve.T, found):
        ax.plot(thresholds, values, "o-", color=color, label=f"{noise:g} px")
        ax.axhline(level, color=color, linestyle=":")
axes[0].legend(title="noise; dotted: auto")
axes[0].set(xscale="log", yscale="log", ylabel="median error of F (px)")
axes[1].set(xscale="log", ylabel="inliers that are right", ylim=(0, 1.05))
axes[2].set(xscale="log", ylabel="right matches that are inliers", ylim=(0, 1.05))
for ax in axes:
    ax.set_xlabel("residual_threshold (px)")
plt.show()
