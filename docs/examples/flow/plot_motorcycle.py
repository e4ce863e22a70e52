"""
Flow of a real pair, beside the truth
=====================================

Two photographs of a motorcycle from cameras side by side. The shape of the scene was measured with
structured light, so the true motion between the pictures is known: up to 60 pixels, all of it
horizontal.
"""

import matplotlib.pyplot as plt

from fastmotion.datasets import load_motorcycle
from fastmotion.display import FlowDisplay
from fastmotion.flow import HornSchunck, LucasKanade
from fastmotion.metrics import endpoint_error

pair = load_motorcycle()
flows = {
    "Lucas-Kanade": LucasKanade().estimate(pair.frame0, pair.frame1),
    "Horn-Schunck": HornSchunck().estimate(pair.frame0, pair.frame1),
}

# %%
# The end-point error is the distance between the ends of the true and of the estimated vector.
# Pixels whose truth is unknown are left out.

for name, flow in flows.items():
    print(f"{name}: {endpoint_error(pair.flow, flow):.2f} px")

# %%
# Hue is direction, saturation is speed. Unknown pixels are black, in the error maps gray. Errors
# gather around near things, where one camera sees what the other does not, and in the wheels,
# where the wall shows between the spokes.

figure, axes = plt.subplots(3, 2, figsize=(9, 9.5), layout="constrained")
axes[0, 0].imshow(pair.frame0)
axes[0, 0].set(title="first frame", xticks=[], yticks=[])
FlowDisplay.from_flow(pair.flow, ax=axes[0, 1], max_magnitude=60)
axes[0, 1].set_title("truth")
for column, (name, flow) in enumerate(flows.items()):
    display = FlowDisplay(flow, truth=pair.flow)
    display.plot(ax=axes[1, column], max_magnitude=60).ax_.set_title(name)
    display.plot("error", ax=axes[2, column], max_magnitude=20).ax_.set_title(f"error of {name}")
plt.show()
