"""
Taking the camera's motion away
===============================

A camera that pans, turns and zooms moves all of the picture. What moves by itself shows only when
that is taken away. A homography says where the camera takes each pixel; it is fitted to the flow
itself, as most of the flow is background.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastmotion.datasets import make_warped_photograph
from fastmotion.display import FlowDisplay
from fastmotion.flow import HornSchunck
from fastmotion.video import CameraCompensation, camera_motion, homography_flow

# %%
# A picture that moves
# --------------------
# The true camera turns by one degree, zooms in by two per cent and pans. A piece of another
# photograph goes its own way, six pixels to the left and two up.

shape = 240, 320
centre = np.array([159.5, 119.5])
angle, zoom, pan = np.radians(1.0), 1.02, np.array([3.0, 1.0])
true_H = np.eye(3)
true_H[:2, :2] = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
true_H[:2, 2] = centre + pan - true_H[:2, :2] @ centre

pair = make_warped_photograph("china", homography_flow(true_H, shape), shape=shape)
flower = make_warped_photograph("flower", "translation", magnitude=0.0, shape=(70, 90)).frame0
pair.frame0[120:190, 130:220] = flower
pair.frame1[118:188, 124:214] = flower

# %%
# Flow, homography, and what is left
# ----------------------------------
# ``estimate`` returns the homography beside the flow that is left. Within a pipeline,
# ``transform`` returns the flow alone.

flow = HornSchunck().estimate(pair.frame0, pair.frame1)
left, H, inlier_share = CameraCompensation(random_state=0).estimate(flow)

for name, matrix in {"true": true_H, "found": H}.items():
    motion = camera_motion(matrix, shape)
    print(
        f"{name:5}: pan {motion.translation.round(2)} px, turn {motion.rotation:.2f}°, "
        f"zoom {motion.zoom:.4f}"
    )
print(f"{inlier_share:.0%} of the vectors obey the homography")

# %%
# In the flow, the flower is one colour among others. What is left is its motion against the
# background: where the picture stands still once the camera does, the picture is white. At the
# flower's left the background disappears, and no flow can be right there.

figure, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
axes[0, 0].imshow(pair.frame0)
axes[0, 0].set(title="first frame", xticks=[], yticks=[])
shown = {"flow": flow, "flow of the homography": homography_flow(H, shape), "what is left": left}
for ax, (title, field) in zip(axes.flat[1:], shown.items(), strict=True):
    FlowDisplay(field).plot(ax=ax, max_magnitude=10)
    ax.set_title(title)
plt.show()
