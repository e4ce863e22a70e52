"""
Velocities from noisy joints
============================

Trackers and depth cameras report joints with noise, and a difference of noisy positions is mostly
noise. Three remedies on a walking figure whose true velocity is known: a Savitzky-Golay filter, a
median filter before the difference, and a motion kernel that learns from the noisy joints alone.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import median_filter

from fastmotion.datasets import make_motion
from fastmotion.display import KernelDisplay
from fastmotion.trajectory import MotionKernel, fixed_kernel, frequency_response

fps = 60.0
motion = make_motion("walk", n_frames=600, fps=fps, noise=8.0, random_state=0)
noisy, truth = motion.observed, motion.velocity

# %%
# The kernel is given no clean example. Of white noise it is known how it enters the products of
# lagged frames, so that it can be taken out of them; its strength is read off the fifth
# differences, in which smooth motion hardly shows.

kernel = MotionKernel(21, causal=False, target="velocity", noise="auto", weight_sum=0.0, fps=fps)
learned = kernel.fit_transform(noisy)
print(f"noise found: {kernel.noise_:.2f} mm, true: 8.00 mm")

# %%
# Its rivals need a window chosen by hand. Each gets the one that is best for this very walk, which
# nobody could know without the true velocity.


def error(velocity):
    inner = slice(15, -15)
    return float(np.sqrt(np.mean((velocity[:, inner] - truth[:, inner]) ** 2)))


def filtered(frames, offsets, weights):
    return sum(w * np.roll(frames, -o, axis=1) for o, w in zip(offsets, weights))


def savgol(n_taps):
    return fixed_kernel("savgol_velocity", n_taps=n_taps, causal=False, fps=fps)


central = fixed_kernel("velocity", causal=False, fps=fps)
windows = range(5, 33, 2)
smooth = min((filtered(noisy, *savgol(n)) for n in windows), key=error)
medians = (median_filter(noisy, (1, n, 1, 1)) for n in windows)
median = min((filtered(m, *central) for m in medians), key=error)
best_window = min(windows, key=lambda n: error(filtered(noisy, *savgol(n))))
candidates = {
    "central difference": filtered(noisy, *central),
    "best median filter": median,
    "best Savitzky-Golay": smooth,
    "motion kernel": learned,
}
for name, velocity in candidates.items():
    print(f"{name:20} {error(velocity):6.0f} mm/s")

# %%
# The frequency responses tell why. The ideal differentiator rises with the frequency and lets all
# noise through; the motion kernel follows it where the walk has its power and shuts above.

figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
joint = motion.joint_names.index("left_ankle")
time = np.arange(60, 180) / fps
axes[0].plot(time, truth[0, 60:180, joint, 0], "k", lw=2, label="truth")
for name in ("central difference", "best Savitzky-Golay", "motion kernel"):
    axes[0].plot(time, candidates[name][0, 60:180, joint, 0], lw=1, label=name)
axes[0].set(xlabel="time (s)", ylabel="velocity (mm/s)", title=motion.joint_names[joint])
axes[0].legend(fontsize="small")
KernelDisplay.from_estimator(kernel, ax=axes[1])
frequencies = np.linspace(0, fps / 2, 200)
responses = {
    "ideal": 2 * np.pi * frequencies,
    "best Savitzky-Golay": np.abs(frequency_response(*savgol(best_window), frequencies, fps)),
    "motion kernel": np.abs(frequency_response(kernel.offsets_, kernel.coef_, frequencies, fps)),
}
for name, response in responses.items():
    axes[2].plot(frequencies, response, "k:" if name == "ideal" else "-", label=name)
axes[2].set(xlabel="frequency (Hz)", ylabel="gain (1/s)", ylim=(0, 80), title="response")
axes[2].legend(fontsize="small")
plt.show()
