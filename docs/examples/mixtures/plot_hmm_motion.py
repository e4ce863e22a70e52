"""
What is the figure doing?
=========================

A figure stands, walks and runs, and changes from one to another at any time. A hidden Markov model
finds the three activities and the times of change, from noisy joints and without a label. A mixture
of the same features, which sees each frame by itself, takes the phases of a stride for activities.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import uniform_filter1d
from sklearn.metrics import adjusted_rand_score

from fastmotion.datasets import make_motion
from fastmotion.display import MixtureDisplay
from fastmotion.hmm import GaussianHMM
from fastmotion.mixture import GaussianMixture

FPS = 60.0
ACTIVITIES = ("stand", "walk", "run")
LEGS = ("left_ankle", "left_knee", "right_ankle", "right_knee")
ARMS = ("left_wrist", "left_elbow", "right_wrist", "right_elbow")


def features(motion):
    """Return the logarithms of the speeds of legs and arms in each frame, in m/s."""
    pose = motion.observed[0] - motion.observed[0][:, :1]
    squared_speed = (np.gradient(pose, 1000 / FPS, axis=0) ** 2).sum(axis=-1)
    limbs = [
        squared_speed[:, [motion.joint_names.index(joint) for joint in joints]].sum(axis=1)
        for joints in (LEGS, ARMS)
    ]
    return np.log(uniform_filter1d(np.stack(limbs, axis=-1), 9, axis=0)) / 2


def record(seed, n_parts=6):
    """Return features and activities of one to four seconds of each of several activities."""
    random = np.random.default_rng(seed)
    # From an activity to one of the two others.
    path = np.cumsum(random.integers(1, 3, n_parts)) % 3
    parts = [
        make_motion(
            ACTIVITIES[activity],
            n_frames=int(random.integers(60, 240)),
            fps=FPS,
            noise=4.0,
            random_state=100 * seed + i,
        )
        for i, activity in enumerate(path)
    ]
    truth = np.repeat(path, [part.observed.shape[1] for part in parts])
    return np.concatenate([features(part) for part in parts]), truth


recordings = [record(seed) for seed in range(12)]
sequences = [X for X, _ in recordings]
truth = np.concatenate([activities for _, activities in recordings])

# %%
# Baum-Welch finds a local maximum, and begins with random transitions. So it is started several
# times; the likelihood tells which fit to keep.

fits = [
    GaussianHMM(3, covariance_type="full", n_iter=100, random_state=seed).fit(sequences)
    for seed in range(10)
]
model = max(fits, key=lambda fit: fit.score(sequences))
print("log-likelihoods:", *sorted({round(fit.score(sequences)) for fit in fits}))
states = model.predict(sequences)  # of all frames, one sequence after the other
frames = np.concatenate(sequences)
mixture = GaussianMixture(3, random_state=0).fit(frames)
components = mixture.predict(frames)
print(f"agreement with the truth: states {adjusted_rand_score(truth, states):.2f}, ", end="")
print(f"components of a mixture {adjusted_rand_score(truth, components):.2f}")

# %%
# A mixture does not know that what is going on now will most likely go on.

stay = np.diag(model.transmat_)[np.argsort(model.means_[:, 0])]
for activity, p in zip(ACTIVITIES, stay):
    print(f"{activity:6} lasts {1 / (1 - p) / FPS:.1f} s in the mean")

# %%
# States are numbered as they come; here by the speed of the legs. The bars show the first
# recording.


def ordered(labels, means):
    """Return labels that are numbered by the first column of the means."""
    return np.argsort(np.argsort(means[:, 0]))[labels]


n_frames = len(sequences[0])
time = np.arange(n_frames) / FPS
figure = plt.figure(figsize=(11, 6), layout="constrained")
axes = figure.subplot_mosaic([["speed", "states"], ["bars", "states"]], width_ratios=(1.4, 1))
axes["speed"].plot(time, sequences[0], label=["legs", "arms"])
axes["speed"].set(xlabel="time (s)", ylabel="log speed", xlim=(0, n_frames / FPS))
axes["speed"].legend()
bars = {
    "truth": truth,
    "states": ordered(states, model.means_),
    "mixture": ordered(components, mixture.means_),
}
axes["bars"].imshow(
    np.stack([labels[:n_frames] for labels in bars.values()]),
    aspect="auto",
    interpolation="nearest",
    extent=(0, n_frames / FPS, 3, 0),
    cmap="viridis",
)
axes["bars"].set(xlabel="time (s)", yticks=[0.5, 1.5, 2.5], yticklabels=bars)
MixtureDisplay.from_estimator(model, sequences, ax=axes["states"], max_points=3000)
axes["states"].set(xlabel="log speed of the legs", ylabel="log speed of the arms")
plt.show()
