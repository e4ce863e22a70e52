"""
Which vectors to trust
======================

A dense flow has a vector at every pixel, whether the frames tell it or not. Two maps show where it
is worth little: the confidence of Lucas-Kanade, and the forward-backward error of any method.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastmotion.datasets import load_motorcycle
from fastmotion.display import FlowDisplay
from fastmotion.flow import LucasKanade, forward_backward_error
from fastmotion.metrics import endpoint_error

pair = load_motorcycle()
estimator = LucasKanade()
forward, confidence = estimator.estimate(pair.frame0, pair.frame1, return_confidence=True)
backward = estimator.estimate(pair.frame1, pair.frame0)

# %%
# The confidence is the smaller eigenvalue of the equations of each window. It is low where there is
# no texture, as on the wall and in the dark. The forward-backward error is the distance by which a
# pixel misses itself when it follows the flow to the second frame and back. It is large where one
# camera alone sees a pixel.

round_trip = forward_backward_error(forward, backward)

# %%
# Do they find the errors? Sort the pixels by either map, keep the best, and look at the error of
# what is kept. Here most errors are at the borders of near things. The round trip finds many of
# them, the confidence few: a window may have texture enough and yet hold two motions. What both
# directions get wrong alike, as the wall between the spokes, escapes both maps.
# Pixels that leave the image have no round trip (NaN) and go first.


def error_of_the_best(worst_last, shares):
    order = np.argsort(worst_last[pair.mask])
    errors = endpoint_error(pair.flow, forward, reduction="none")[pair.mask][order]
    return [errors[: int(share * errors.size)].mean() for share in shares]


shares = np.linspace(0.1, 1, 19)

figure, axes = plt.subplots(2, 2, figsize=(9, 6.2), layout="constrained")
FlowDisplay(forward, truth=pair.flow).plot("error", ax=axes[0, 0], max_magnitude=20)
axes[0, 0].set_title("true error")
image = axes[0, 1].imshow(np.log10(confidence + 1e-6), cmap="inferno_r")
axes[0, 1].set(title="confidence", xticks=[], yticks=[])
figure.colorbar(image, ax=axes[0, 1], label="log10 of the eigenvalue", shrink=0.8)
axes[1, 0].set_facecolor("0.5")
image = axes[1, 0].imshow(round_trip, cmap="inferno", vmin=0, vmax=20)
axes[1, 0].set(title="forward-backward error", xticks=[], yticks=[])
figure.colorbar(image, ax=axes[1, 0], label="px", extend="max", shrink=0.8)
axes[1, 1].plot(shares, error_of_the_best(-confidence, shares), label="by confidence")
axes[1, 1].plot(shares, error_of_the_best(round_trip, shares), label="by forward-backward error")
axes[1, 1].set(xlabel="share of pixels kept", ylabel="mean end-point error (px)", ylim=(0, None))
axes[1, 1].legend(loc="center left")
plt.show()
