"""
Values that are missing
=======================

A tracker loses a hand behind the body, a sensor drops out. Rows with a gap are thrown away, or the
gap is filled with a mean, and the mixture that is fitted then is another one. Fitted to what was
observed, it is nearly the one that the complete data would have given.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.impute import SimpleImputer

from fastmotion.datasets import make_motion
from fastmotion.display import MixtureDisplay
from fastmotion.mixture import GaussianMixture

JOINTS = ("left_ankle", "right_ankle", "left_wrist", "right_wrist")


def record(activity, n_people, seed):
    """Return the logarithms of the mean speeds of four joints, in m/s."""
    motion = make_motion(
        activity, n_sequences=n_people, n_frames=60, variation=0.2, random_state=seed
    )
    velocity = (motion.velocity - motion.velocity[:, :, :1]) / 1000
    speed = np.linalg.norm(velocity, axis=-1).mean(axis=1)
    return np.log(speed[:, [motion.joint_names.index(joint) for joint in JOINTS]])


complete = np.concatenate([record("walk", 120, seed=0), record("run", 80, seed=1)])
test = np.concatenate([record("walk", 600, seed=2), record("run", 400, seed=3)])

# %%
# Two values in five are lost.

X = complete.copy()
X[np.random.default_rng(0).random(X.shape) < 0.4] = np.nan
whole_rows = X[~np.isnan(X).any(axis=1)]
print(f"{len(whole_rows)} of {len(X)} rows are complete")

# %%
# The mean log-likelihood of people whom no fit has seen, the higher the better:

fits = {
    "nothing missing": GaussianMixture(2, random_state=0).fit(complete),
    "observed values": GaussianMixture(2, random_state=0).fit(X),
    "complete rows": GaussianMixture(2, random_state=0).fit(whole_rows),
    "gaps filled with means": GaussianMixture(2, random_state=0).fit(
        SimpleImputer().fit_transform(X)
    ),
}
for name, mixture in fits.items():
    print(f"{name:24}{mixture.score(test):8.2f}")

# %%
# Two of the four columns, with the samples that were not seen. Means pile samples up where nobody
# is, and few rows bend the ellipses.

figure, axes = plt.subplots(1, 4, figsize=(14, 3.8), layout="constrained", sharex=True, sharey=True)
for ax, (name, mixture) in zip(axes, fits.items()):
    MixtureDisplay.from_estimator(mixture, test, columns=(1, 2), ax=ax)
    ax.set(title=name, xlabel="right ankle", ylabel="left wrist")
plt.show()
