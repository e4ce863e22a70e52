"""
How high is the foot?
=====================

A mixture of all columns predicts any of them from any others. Here it is fitted to the ankles of
people who run: how far before or behind the pelvis they are, how fast they move there, and their
height. Where the ankle is does not tell its height, for it passes each place twice in a stride, on
the floor and in the air; the mixture says so. Together with the speed, it does.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LinearRegression

from fastmotion.datasets import make_motion
from fastmotion.display import MixtureDisplay
from fastmotion.mixture import GaussianMixture

FPS = 60.0
PLACE, SPEED, HEIGHT = range(3)


def record(n_people, seed):
    """Return place in mm, speed in m/s and height in mm of the left ankle, by the pelvis."""
    motion = make_motion(
        "run", n_sequences=n_people, n_frames=120, fps=FPS, noise=5.0, random_state=seed
    )
    ankle = motion.joint_names.index("left_ankle")
    place = motion.observed[:, :, ankle] - motion.observed[:, :, 0]
    speed = (motion.velocity[:, :, ankle, 0] - motion.velocity[:, :, 0, 0]) / 1000
    return np.stack([place[..., 0], speed, place[..., 2]], axis=-1)


train = record(20, seed=0).reshape(-1, 3)
test = record(20, seed=1)

# %%
# Twelve components follow the loop. Those of a sample's place alone, and those of its place and
# speed, give a distribution of what is not known for each row.

mixture = GaussianMixture(12, max_iter=300, random_state=0).fit(train)
samples = test.reshape(-1, 3)
by_place = mixture.condition(samples[:, [PLACE]], columns=[PLACE])
by_both = mixture.condition(samples[:, [PLACE, SPEED]], columns=[PLACE, SPEED])
linear = LinearRegression().fit(train[:, [PLACE, SPEED]], train[:, HEIGHT])
guesses = {
    "place": by_place.mean()[:, -1],
    "place and speed": by_both.mean()[:, -1],
    "place and speed, linear": linear.predict(samples[:, [PLACE, SPEED]]),
}
for name, guess in guesses.items():
    error = np.sqrt(np.mean((guess - samples[:, HEIGHT]) ** 2))
    print(f"error of the height from {name:24}{error:6.1f} mm")

# %%
# It also knows what it does not know: the standard deviation that it gives for each sample.

for name, given in {"place": by_place, "place and speed": by_both}.items():
    print(f"expected error from {name:20}{np.sqrt(given.covariance()[:, -1, -1].mean()):6.1f} mm")

# %%
# Left: the loop and its components. Middle: two seconds of a person whom no fit has seen, with a
# band of two standard deviations. Right: an ankle 250 mm behind the pelvis may be at one of two
# heights; whether it goes forwards or backwards, at 1.6 m/s, decides.

figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
MixtureDisplay.from_estimator(
    mixture, train, columns=(PLACE, HEIGHT), ax=axes[0], level=0.9, max_points=2000
)
axes[0].set(xlabel="place (mm)", ylabel="height (mm)")

person = mixture.condition(test[0][:, [PLACE, SPEED]], columns=[PLACE, SPEED])
height, spread = person.mean()[:, -1], np.sqrt(person.covariance()[:, -1, -1])
time = np.arange(len(height)) / FPS
axes[1].fill_between(time, height - 2 * spread, height + 2 * spread, alpha=0.3)
axes[1].plot(time, height, label="from place and speed")
axes[1].plot(time, guesses["place"][: len(time)], ":", label="from place")
axes[1].plot(time, test[0][:, HEIGHT], "k", linewidth=0.8, label="truth")
axes[1].set(xlabel="time (s)", ylabel="height (mm)")
axes[1].legend(fontsize="small")

heights = np.linspace(-900, -400, 500)
place = mixture.condition([[-250.0]], columns=[PLACE])
moving = mixture.condition([[-250.0, 1.6], [-250.0, -1.6]], columns=[PLACE, SPEED])
for label, given, row in (("place", place, 0), ("forwards", moving, 0), ("backwards", moving, 1)):
    variances = given.covariances[:, -1, -1]
    parts = np.exp(-((heights[:, None] - given.means[row, :, -1]) ** 2) / 2 / variances)
    density = parts / np.sqrt(2 * np.pi * variances) @ given.weights[row]
    axes[2].plot(heights, density, label=label)
axes[2].set(xlabel="height (mm)", ylabel="density")
axes[2].legend(fontsize="small")
plt.show()
