"""
Smoothness and windows
======================

`HornSchunck` asks how smooth a flow is, `LucasKanade` how large the windows are in which it is
constant. Both numbers trade noise against detail. The motorcycle pair has the borders of near
things that suffer from too much of it; what noise in the frames does is added here.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastmotion.datasets import load_motorcycle
from fastmotion.display import FlowDisplay
from fastmotion.flow import HornSchunck, LucasKanade
from fastmotion.metrics import endpoint_error

# Half the size of the photographs is enough here. Motion is half as large then.
pair = load_motorcycle()
clean = [frame.mean(axis=-1)[::2, ::2].astype(np.uint8) for frame in (pair.frame0, pair.frame1)]
truth = pair.flow[::2, ::2] / 2

random = np.random.default_rng(0)
noisy = [
    np.clip(frame + random.normal(0, 12, frame.shape), 0, 255).astype(np.uint8) for frame in clean
]
pairs = {"clean": clean, "noise of 12 gray values": noisy}

# %%
# Smoothness
# ----------
# ``alpha`` weighs the smoothness of the flow against the agreement of the frames. With little of it
# the flow follows the noise. With too much it is washed out at motion borders, and in the end falls
# short of the motion altogether. Between the two the valley is flat: from a tenth of the default on
# errors hardly change. More than twice the default is too much here, where motion is large and has
# borders.

alphas = np.geomspace(0.02, 2.4, 9)


def errors(estimators):
    """Return the mean end-point errors of some estimators on each pair."""
    return {
        name: [endpoint_error(truth, e.estimate(*frames)) for e in estimators]
        for name, frames in pairs.items()
    }


figure, axes = plt.subplots(2, 2, figsize=(9.5, 6.6), layout="constrained")
for name, values in errors([HornSchunck(alpha=alpha) for alpha in alphas]).items():
    axes[0, 0].semilogx(alphas, values, "o-", label=name)
axes[0, 0].axvline(0.9, color="0.6", linestyle=":", label="default")
axes[0, 0].set(xlabel="alpha", ylabel="mean end-point error (px)", ylim=(0, None))
axes[0, 0].legend()
for ax, alpha in zip(axes.flat[1:], (0.02, 0.9, 2.4)):
    flow = HornSchunck(alpha=alpha).estimate(*noisy)
    FlowDisplay.from_flow(flow, ax=ax, max_magnitude=30)
    ax.set_title(f"noisy frames, alpha={alpha:g}")
plt.show()

# %%
# Windows
# -------
# The larger ``window_size``, the more equations there are for two unknowns, and the more motions
# lie in one window. Small windows are noisy, large ones blur motion borders.

sizes = np.array([5, 7, 11, 15, 21, 31, 41])

figure, axes = plt.subplots(2, 2, figsize=(9.5, 6.6), layout="constrained")
for name, values in errors([LucasKanade(window_size=int(size)) for size in sizes]).items():
    axes[0, 0].plot(sizes, values, "o-", label=name)
default = LucasKanade().window_size
axes[0, 0].axvline(default, color="0.6", linestyle=":", label="default")
axes[0, 0].set(xlabel="window_size (px)", ylabel="mean end-point error (px)", ylim=(0, None))
axes[0, 0].legend()
for ax, size in zip(axes.flat[1:], (5, default, 41)):
    flow = LucasKanade(window_size=size).estimate(*noisy)
    FlowDisplay.from_flow(flow, ax=ax, max_magnitude=30)
    ax.set_title(f"noisy frames, window_size={size}")
plt.show()
