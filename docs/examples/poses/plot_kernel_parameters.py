"""
How many taps, how much ridge?
==============================

A longer kernel can tell more frequencies apart and averages over more noise. It also has more
weights to be found. How many pay depends on the noise and on the amount of data; a ridge helps
where these are few.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastmotion.datasets import make_motion
from fastmotion.trajectory import MotionKernel, MotionKernelCV

FPS = 60.0


def record(noise, n_sequences, seed):
    """Return walks of five seconds."""
    return make_motion(
        "walk", n_sequences=n_sequences, n_frames=300, fps=FPS, noise=noise, random_state=seed
    )


def velocity_error(kernel, motion):
    """Return the root mean square error in mm/s."""
    return np.sqrt(np.mean((kernel.transform(motion.observed) - motion.velocity) ** 2))


# %%
# Length
# ------
# Velocity from noisy joints. Kernels of a few taps pass the noise, whatever their weights. From
# about a third of a second on little is gained, and nothing is lost by more taps: with these data
# their weights are found well.

taps = np.array([3, 5, 9, 15, 21, 31, 41])
curves = {}
for noise in (1.0, 4.0, 16.0):
    train, test = record(noise, 8, seed=0), record(noise, 8, seed=1)
    kernels = [
        MotionKernel(
            int(n), causal=False, target="velocity", noise="auto", weight_sum=0.0, fps=FPS
        ).fit(train.observed)
        for n in taps
    ]
    curves[noise] = [velocity_error(kernel, test) for kernel in kernels]

# %%
# Ridge
# -----
# A forecast of a wrist and an ankle, a fifth of a second ahead, from half a second of noisy frames.
# ``alpha`` pulls the weights to those of the ``prior``, here to repeating the last frame. Where
# there are a few windows only (50 frames hold eight), weights without a ridge are worse than no
# forecast at all. Its scale is that of a sum over windows, as in scikit-learn's Ridge: the more
# data there are, the less the same number counts, and the less there is to gain.

alphas = np.geomspace(1e2, 1e9, 15)
test = record(4.0, 8, seed=1)
joints = [test.joint_names.index(name) for name in ("left_wrist", "right_ankle")]
known, future = test.observed[:, :-12, joints], test.positions[:, 12:, joints]
forecasts = {}
for n_frames in (50, 90, 300):
    train = record(4.0, 1, seed=0).observed[:, :n_frames, joints]
    forecasts[n_frames] = [
        np.sqrt(np.mean((kernel.fit(train).transform(known) - future)[:, 30:] ** 2))
        for kernel in (
            MotionKernel(31, target="next", horizon=12, residual=True, prior="hold", alpha=alpha)
            for alpha in alphas
        )
    ]

# %%
# Cross-validation
# ----------------
# `MotionKernelCV` leaves out one sequence after the other and finds both numbers, from one pass
# over the data.

search = MotionKernelCV(
    MotionKernel(target="next", horizon=12, residual=True, prior="hold"),
    n_taps=(3, 7, 15, 31),
    alphas=(1e2, 1e4, 1e6, 1e8),
).fit(record(4.0, 4, seed=0).observed)
print({name: search.best_params_[name] for name in ("n_taps", "alpha")})

# %%
# Left, the length of the kernel; right, the ridge.

figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for noise, values in curves.items():
    axes[0].semilogy(taps / FPS, values, "o-", label=f"{noise:g} mm")
axes[0].set(xlabel="length of the kernel (s)", ylabel="RMSE of the velocity (mm/s)")
axes[0].legend(title="noise")
for n_frames, values in forecasts.items():
    axes[1].semilogx(alphas, values, "o-", label=f"{n_frames} frames")
axes[1].set(xlabel="alpha (mm²)", ylabel="RMSE of the forecast, other walkers (mm)")
axes[1].legend(title="learned from")
plt.show()
