"""
A kernel for each activity
==========================

What is the best way to differentiate noisy positions? It depends on the motion. Here a kernel of 21
taps learns it for a figure that walks, one that runs and one that stands, from the noisy positions
alone, and the exact velocity of the synthetic figure tells how well it did.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastmotion.datasets import make_motion
from fastmotion.display import KernelDisplay
from fastmotion.trajectory import MotionKernel, MotionKernelCV

FPS = 60.0


def record(activity, seed):
    return make_motion(activity, n_sequences=8, n_frames=300, fps=FPS, noise=5.0, random_state=seed)


activities = ("walk", "run", "stand")
train = {activity: record(activity, seed=0) for activity in activities}
test = {activity: record(activity, seed=1) for activity in activities}

# %%
# No clean example is needed: that the noise is white, and how strong it is, is enough to tell what
# the velocity would be without it. ``noise="auto"`` finds the strength.

kernels = {}
for activity in activities:
    kernel = MotionKernel(
        21, causal=False, target="velocity", noise="auto", weight_sum=0.0, fps=FPS
    )
    kernels[activity] = kernel.fit(train[activity].observed)
    print(f"{activity:6} noise found: {kernel.noise_:.2f} mm")

# %%
# All three are differentiators of slow motion: their gain follows the dotted line at first. They
# leave it where the noise becomes stronger than the motion, which is at higher frequencies the
# faster the motion is. Who stands hardly moves: the kernel passes little of anything.

KernelDisplay.from_estimators(kernels, derivative=1)

# %%
# Each kernel is best for its own activity. The Savitzky-Golay filter beside them has the window of
# up to 41 frames that is best for the activity in hindsight, which for who stands is the longest;
# central differences pass all the noise.


def error(kernel, motion):
    return np.sqrt(np.mean((kernel.transform(motion.observed) - motion.velocity) ** 2))


def fixed(name, n_taps):
    # An endless ridge leaves nothing but the prior.
    return MotionKernel(
        n_taps, causal=False, target="velocity", prior=name, alpha=1e30, fps=FPS, edges="nearest"
    )


rows = {f"learned from {name}": [kernel] * 3 for name, kernel in kernels.items()}
rows["best Savitzky-Golay"] = [
    min(
        (fixed("savgol_velocity", n).fit(train[name].observed) for n in range(3, 42, 2)),
        key=lambda kernel, name=name: error(kernel, test[name]),
    )
    for name in activities
]
rows["central difference"] = [fixed("velocity", 3).fit(train["walk"].observed)] * 3

print(f"{'RMSE (mm/s)':22}" + "".join(f"{name:>9}" for name in activities))
for label, row in rows.items():
    errors = [error(kernel, test[name]) for kernel, name in zip(row, activities)]
    print(f"{label:22}" + "".join(f"{value:9.1f}" for value in errors))

# %%
# How many taps, and should each joint have a kernel of its own? Leaving sequences out tells; all
# candidates come from one pass over the data.

search = MotionKernelCV(
    MotionKernel(causal=False, target="velocity", noise="auto", weight_sum=0.0, fps=FPS),
    n_taps=(5, 9, 15, 21, 31),
    sharing=("all", "joint"),
).fit(train["walk"].observed)
print(search.best_params_)

# %%
# Feet move faster than hips, so their kernels pass more. But a joint has less data than all have
# together, and the more noise there is the more that costs: ``shrinkage`` lets the others have a
# say.

joints = ["pelvis", "left_wrist", "left_ankle"]
per_joint = MotionKernel(
    21,
    causal=False,
    target="velocity",
    noise="auto",
    sharing="joint",
    shrinkage=0.1,
    fps=FPS,
).fit(train["walk"].observed)
print(f"one kernel {error(kernels['walk'], test['walk']):.1f} mm/s, ", end="")
print(f"one for each joint {error(per_joint, test['walk']):.1f} mm/s")
places = [train["walk"].joint_names.index(joint) for joint in joints]
KernelDisplay(per_joint.offsets_, per_joint.coef_[places], names=joints, fps=FPS).plot(
    kind="both", derivative=1
)
plt.show()
