"""Films with a known camera and a patch that moves by itself."""

from fastmotion.datasets import make_warped_clip

SHAPE = 96, 128
PATCH = 36, 40  # height and width


def make_film(n_frames=12, camera=(2.0, 0.0), patch=(-3, 1), shape=SHAPE, gray=False):
    """Return frames of "china" under a camera, with a patch of "flower" of its own motion.

    The camera is a motion of `make_warped_clip`; the patch moves by whole pixels in the picture.
    """
    frames = make_warped_clip(n_frames, motion=camera, shape=shape, gray=gray).frames
    texture = make_warped_clip(2, "flower", motion=(0, 0), shape=PATCH, gray=gray).frames[0]
    for frame, (top, left) in zip(frames, patch_corners(n_frames, patch)):
        frame[top : top + PATCH[0], left : left + PATCH[1]] = texture
    return frames


def patch_corners(n_frames, patch=(-3, 1)):
    """Return row and column of the patch's first pixel in each frame."""
    u, v = patch
    return [(30 + v * t, 60 + u * t) for t in range(n_frames)]
