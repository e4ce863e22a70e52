"""
Presets: error against time
===========================

``from_preset`` names settings from the fastest to the most accurate. Here each estimates the flow
of the motorcycle pair, whose truth was measured. Times are those of the machine that built this
page, each the median of some calls after a first one that compiles; look at their ratios.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np

from fastmotion.datasets import load_motorcycle
from fastmotion.display import FlowDisplay
from fastmotion.flow import HornSchunck, LucasKanade
from fastmotion.metrics import endpoint_error

pair = load_motorcycle()
frames = pair.frame0, pair.frame1


def time_of(estimator, n_calls=3):
    """Return the median time of some calls in milliseconds."""
    times = []
    for _ in range(n_calls):
        start = perf_counter()
        estimator.estimate(*frames)
        times.append(1e3 * (perf_counter() - start))
    return np.median(times)


rows = []
for kind in (LucasKanade, HornSchunck):
    for preset in ("fast", "medium", "default", "best"):
        estimator = kind.from_preset(preset)
        flow = estimator.estimate(*frames)  # the first call of a process may compile
        rows.append((kind.__name__, preset, time_of(estimator), flow))

# %%
# Errors are far from normal: most pixels are right to a fraction of a pixel, those next to borders
# of near things are off by dozens. So the median says what a typical pixel has, and the mean what
# the borders cost.

figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", sharex=True)
for kind, marker, place in (("LucasKanade", "s--", (4, 7)), ("HornSchunck", "o-", (-8, -14))):
    own = [row for row in rows if row[0] == kind]
    times = [time for _, _, time, _ in own]
    distances = [
        endpoint_error(pair.flow, flow, reduction="none")[pair.mask] for _, _, _, flow in own
    ]
    for ax, summary, name in zip(axes, (np.median, np.mean), ("median", "mean")):
        values = [float(summary(distance)) for distance in distances]
        ax.semilogx(times, values, marker, label=kind)
        for (_, preset, time, _), value in zip(own, values):
            ax.annotate(preset, (time, value), xytext=place, textcoords="offset points")
        ax.set(xlabel="time (ms)", ylabel=f"{name} end-point error (px)")
for ax in axes:
    ax.set_ylim(0, 1.15 * ax.get_ylim()[1])
    ax.margins(x=0.15)
axes[0].legend()
plt.show()

# %%
# What the faster ones miss is detail: they stop at a half or a quarter of the resolution and
# enlarge the flow.

figure, axes = plt.subplots(2, 2, figsize=(9.5, 6.6), layout="constrained")
for ax, (kind, preset, _, flow) in zip(axes.flat, rows[4:]):
    FlowDisplay.from_flow(flow, ax=ax, max_magnitude=60)
    ax.set_title(f"{kind}, {preset}")
plt.show()
