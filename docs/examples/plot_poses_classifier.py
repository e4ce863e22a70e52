"""
From poses to activities
========================

Who walks, who runs, who stands? A bank of motion kernels turns sequences of poses of any lengths
into rows of features, and a linear classifier tells them apart: two steps of one pipeline, which
cross-validation, a grid search and pickle treat as any other.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmotion.datasets import make_motion
from fastmotion.trajectory import MotionKernelBank

FPS = 30.0
ACTIVITIES = ("stand", "stroll", "walk", "run")
PACE = {"stroll": 0.7}  # who strolls walks in slow motion

# %%
# Recordings of a second, as a tracker with much noise sees them: 60 mm. Where the figure stands
# says nothing of what it does, so positions are taken relative to the pelvis.


def record(activity, n_sequences, seed):
    """Return noisy poses of shape (n_sequences, 30, 19, 3) in mm."""
    motion = make_motion(
        "walk" if activity in PACE else activity,
        n_sequences=n_sequences,
        n_frames=30,
        fps=FPS / PACE.get(activity, 1.0),
        variation=0.3,
        noise=60.0,
        random_state=seed,
    )
    return motion.observed - motion.observed[:, :, :1]


poses = np.concatenate([record(name, 40, seed) for seed, name in enumerate(ACTIVITIES)])
labels = np.repeat(ACTIVITIES, 40)

# %%
# The bank has kernels that it learns from the poses and fixed ones, at several distances between
# their frames. ``pooling`` makes a row of each sequence.

bank = MotionKernelBank(
    scales=(3, 5),
    dilations=(1, 2, 4),
    fixed=("velocity", "acceleration"),
    pooling=("std",),
)
classifier = make_pipeline(bank, StandardScaler(), RidgeClassifierCV(np.geomspace(1, 1e4, 9)))
predicted = cross_val_predict(classifier, poses, labels, cv=5)
print(f"right: {accuracy_score(labels, predicted):.1%}")

# %%
# Features have names, so that a table tells where they come from.

features = classifier.fit(poses, labels)[:-2].get_feature_names_out()
print(len(features), "features, such as", features[0])

# %%
# Which dilations pay is a question for a grid search, as for any parameter of a pipeline.

search = GridSearchCV(
    classifier,
    {"motionkernelbank__dilations": [(1,), (2,), (1, 2), (1, 2, 4)]},
    cv=5,
).fit(poses, labels)
for parameters, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"]):
    print(f"{parameters['motionkernelbank__dilations']!s:14} {score:.3f}")

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
ConfusionMatrixDisplay.from_predictions(
    labels, predicted, labels=ACTIVITIES, ax=axes[0], colorbar=False, cmap="Blues"
)
axes[0].set_title("sequences, left out in turn")

# What the classifier looks at: the size of its weights, joint by joint.
joints = make_motion("walk", n_frames=2).joint_names
weights = np.abs(classifier[-1].coef_).mean(axis=0).reshape(-1, len(joints), 3).mean(axis=(0, 2))
order = np.argsort(weights)
axes[1].barh(np.array(joints)[order], weights[order])
axes[1].set(xlabel="mean size of the weights", title="joints that tell")
plt.show()
