"""
How many ways of moving?
========================

A second of motion is summed up by two numbers, how fast the ankles and how fast the wrists go. How
many activities are there among some hundred recordings? Nobody tells; a mixture whose number of
components is unknown finds out.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import adjusted_rand_score

from fastmotion.datasets import make_motion
from fastmotion.display import ConvergenceDisplay, MixtureDisplay
from fastmotion.mixture import GaussianMixture


def record(activity, n_people, seed, pace=1.0):
    """Return the logarithms of the mean speeds of ankles and wrists, in m/s."""
    motion = make_motion(
        activity, n_sequences=n_people, n_frames=60, variation=0.2, random_state=seed
    )
    velocity = pace * motion.velocity / 1000
    pelvis = motion.joint_names.index("pelvis")
    speed = np.linalg.norm(velocity - velocity[:, :, [pelvis]], axis=-1).mean(axis=1)
    return np.stack(
        [
            np.log(speed[:, [motion.joint_names.index(joint) for joint in pair]].mean(axis=1))
            for pair in (("left_ankle", "right_ankle"), ("left_wrist", "right_wrist"))
        ],
        axis=-1,
    )


# Who strolls walks in slow motion.
recordings = [
    record("stand", 150, seed=0),
    record("walk", 150, seed=1, pace=0.6),
    record("walk", 200, seed=2),
    record("run", 150, seed=3),
]
X = np.concatenate(recordings)
activity = np.repeat(np.arange(len(recordings)), [len(part) for part in recordings])

# %%
# ``n_components="auto"`` begins with more components than wanted, merges two at a time, and keeps
# the mixture that the criterion prefers.

mixture = GaussianMixture("auto", max_components=10, random_state=0).fit(X)
found = mixture.predict(X)
print(f"{mixture.n_components_} components")
print(f"agreement with the activities: {adjusted_rand_score(activity, found):.2f} of 1")

# %%
# Strollers, walkers and runners touch each other; those who stand are far away. The ellipses hold
# half and 95 per cent of a component. Beyond four components, the likelihood gains less than the
# criterion asks for the parameters.

figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
MixtureDisplay.from_estimator(mixture, X, ax=axes[0])
MixtureDisplay.from_estimator(mixture, X, ax=axes[1], log_likelihood=True)
axes[1].set(xlim=(-0.8, 1.5), ylim=(-1.3, 1.2), title="those who move")
ConvergenceDisplay.from_estimator(mixture, ax=axes[2], kind="criterion")
axes[2].set(xlim=(1.5, 10.5), ylim=(650, 950))
for ax in axes[:2]:
    ax.set(xlabel="log speed of the ankles", ylabel="log speed of the wrists")

# %%
# Is it not enough to fit mixtures of each number? Of five fits with four components that start at
# random samples, two end in a local maximum, one of them after the most iterations of all. By their
# criterion, three components would be better.

fits = {
    f"start {seed}": GaussianMixture(
        4, init_params="random_from_data", tol=1e-8, max_iter=500, random_state=seed
    ).fit(X)
    for seed in range(5)
}
for name, fit in fits.items():
    print(f"{name}: {fit.bic(X):.0f}")
print(f"three components: {mixture.criterion_path_[3]:.0f}")

# %%
# On the right, how far each fit is below the best: a slope is a fit that still goes on.

figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
ConvergenceDisplay.from_estimators(fits, ax=axes[0])
axes[0].set_ylim(-0.9, -0.3)
ConvergenceDisplay.from_estimators(fits, ax=axes[1], kind="gap")
plt.show()
