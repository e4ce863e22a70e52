"""
From clips to classes
=====================

Three kinds of motion, filmed of two photographs: a camera that comes closer, one that turns, and
one that moves sideways in any direction. Flow, histograms of it, and a linear classifier tell
them apart.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from fastmotion.datasets import make_warped_clip
from fastmotion.features import FisherVector, FlowHistogram
from fastmotion.flow import HornSchunck

rng = np.random.default_rng(0)
photographs = load_sample_images().images


def make_clip(kind):
    """Film a part of a photograph."""
    photograph = photographs[rng.integers(2)]
    row, column = rng.integers(0, 250), rng.integers(0, 400)
    magnitude, angle = rng.uniform(1, 3), rng.uniform(0, 2 * np.pi)
    shift = (magnitude * np.cos(angle), magnitude * np.sin(angle))
    part = photograph[row : row + 150, column : column + 200]
    motion = shift if kind == "shift" else kind
    clip = make_warped_clip(
        4, part, motion, magnitude=magnitude, shape=(72, 96), gray=True, noise=3.0, random_state=0
    )
    return clip.frames


kinds = ["zoom", "rotation", "shift"]
labels = np.repeat(kinds, 10)
clips = np.stack([make_clip(kind) for kind in labels])
flow = HornSchunck.from_preset("fast").transform(clips)

# %%
# A grid over the whole clip knows where motion points which way; here the flow is all that differs,
# and there are few clips. Blocks and Fisher vectors do not know where a block lies, and yet tell:
# in zooms and rotations there are blocks of all directions, in shifts of a single one; and in the
# middle of zooms and rotations there are blocks that hardly move. Which of the two it is, zoom or
# rotation, shows in how the directions change within a block, for which blocks have cells.

grid = FlowHistogram(components=["flow"], grid=(1, 2, 2))
blocks = FlowHistogram(components=["flow"], grid=(1, 2, 2), block_shape=(3, 36, 48))
classifiers = {
    "grid": make_pipeline(grid, LinearSVC(random_state=0)),
    "Fisher\nvector": make_pipeline(
        blocks, FisherVector(4, random_state=0), LinearSVC(random_state=0)
    ),
}
scores = {
    name: cross_val_score(classifier, flow, labels, cv=5).mean()
    for name, classifier in classifiers.items()
}

# %%
# Histograms of one clip of each kind, in its four cells, and how often the classifiers are right
# about clips that they have not seen.

directions = np.deg2rad(45 * np.arange(8))
figure = plt.figure(figsize=(9.5, 3.6), layout="constrained")
columns = figure.subfigures(1, 4, width_ratios=[1, 1, 1, 0.7])
histograms = grid.transform(flow).reshape(len(flow), 2, 2, 9)[..., :8]
for column, kind in zip(columns, kinds):
    column.suptitle(kind)
    axes = column.subplots(2, 2, subplot_kw={"projection": "polar"})
    for ax, histogram in zip(axes.flat, histograms[labels == kind][0].reshape(4, 8)):
        ax.bar(directions, histogram, width=0.7)
        ax.set_theta_direction(-1)  # down is down
        ax.set(xticks=directions[::2], xticklabels=[], yticklabels=[], ylim=(0, histograms.max()))
ax = columns[3].subplots()
ax.bar(list(scores), list(scores.values()), color="C2")
ax.axhline(1 / 3, color="gray", linestyle="dashed")
ax.text(-0.4, 1 / 3, "chance", va="bottom")
ax.set(ylim=(0, 1), title="accuracy")
plt.show()
