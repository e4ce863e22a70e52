"""
From a video file to a table of motion
======================================

One call goes through a video, clip by clip, and measures what moves: the camera, and what is seen.
Here the file is made first, so that the truth is known.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import map_coordinates
from sklearn.datasets import load_sample_image

from fastmotion.io import write_video
from fastmotion.video import camera_motion, motion_table

# %%
# A film
# ------
# A camera sees a part of a photograph: it pans to the right, rests, and zooms in while it turns.
# ``windows`` are the homographies from the pixels of a frame to those of the photograph.

n_frames, fps = 72, 24
height, width = 160, 214
photograph = load_sample_image("china.jpg").astype(np.float32)
flower = load_sample_image("flower.jpg")[60:300:4, 180:500:4]


def window(t):
    """Return what the camera sees of the photograph in frame t."""
    pan = 2.0 * min(t, 24)
    part = max(0, t - 48) / 24
    angle, scale = np.radians(12 * part), 1.5 * 0.8**part
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    H = np.eye(3)
    H[:2, :2] = turn
    H[:2, 2] = np.array([260 + pan, 210]) - turn @ [(width - 1) / 2, (height - 1) / 2]
    return H


def look(t):
    """Return frame t, with a flower that crosses the picture in front of it all."""
    rows, columns = np.indices((height, width))
    points = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ window(t).T
    frame = [
        map_coordinates(channel, (points[..., 1], points[..., 0]), order=1)
        for channel in np.moveaxis(photograph, -1, 0)
    ]
    frame = np.stack(frame, axis=-1).astype(np.uint8)
    frame[70:130, 5 + t : 85 + t] = flower
    return frame


windows = [window(t) for t in range(n_frames)]
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "film.mp4"
write_video(path, (look(t) for t in range(n_frames)), fps)

# %%
# The table
# ---------
# Clips of five frames follow each other so that each pair of frames is in one of them. The table is
# a dictionary of columns, of which ``pandas.DataFrame(table)`` makes a data frame. The same is
# written as text by ``fastmotion features film.mp4 -o table.csv --clip-length 5``.

table = motion_table(path, clip_length=5)
folder.cleanup()
print(len(table["start_time"]), "clips,", len(table), "columns:", *list(table)[:17])

# %%
# Beside the truth
# ----------------
# From frame t to the next the picture moves by the inverse of the window of t + 1 after that of t.
# The flower moves by one pixel a frame in the picture, and by more against the background when the
# camera pans. The truth is that of its middle. The 95th percentile of the speed is among the
# flower's pixels, near its fastest corner where the picture turns; the mean is small, as most of
# the picture is background.

steps = np.array([np.linalg.inv(later) @ now for now, later in zip(windows, windows[1:])])
truth = camera_motion(steps, (height, width))
middles = np.array([[44.5 + t, 99.5, 1] for t in range(n_frames - 1)])
carried = (steps @ middles[..., np.newaxis])[:, :2, 0]  # where the background would take them
own_speed = np.hypot(*(middles[:, :2] + [1, 0] - carried).T)

middle = table["start_time"] + (table["n_frames"] - 1) / 2 / fps
seconds = (np.arange(n_frames - 1) + 0.5) / fps
figure, axes = plt.subplots(2, 2, figsize=(9.5, 6), sharex=True, layout="constrained")
panels = [
    ("pan, right (px/frame)", truth.translation[:, 0], "camera_u"),
    ("turn (degrees/frame)", truth.rotation, "camera_rotation"),
    ("zoom (factor/frame)", truth.zoom, "camera_zoom"),
    ("speed against the background (px/frame)", own_speed, "speed_p95"),
]
for ax, (title, true, name) in zip(axes.flat, panels, strict=True):
    ax.plot(seconds, true, color="0.6", linewidth=3, label="truth")
    ax.plot(middle, table[name], "o-", markersize=4, label=name)
    ax.set_title(title, fontsize=10)
    ax.legend()
axes[1, 1].plot(middle, table["speed_mean"], "--", label="speed_mean")
axes[1, 1].legend()
for ax in axes[1]:
    ax.set_xlabel("time (s)")
plt.show()
