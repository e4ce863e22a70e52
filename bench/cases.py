"""Image pairs with a known flow."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_image

from fastmotion.datasets import make_warped_photograph
from fastmotion.io import read_flo, read_image
from fastmotion.metrics import endpoint_error

MIDDLEBURY = ("Dimetrodon", "Grove2", "RubberWhale", "Urban2")
SINTEL = ("sintel_clean_easy", "sintel_clean_medium")

# height, width
VGA = (480, 640)
FULL_HD = (1080, 1920)


@dataclass(frozen=True)
class Case:
    """Two gray uint8 frames and the true flow from the first to the second."""

    name: str
    frame0: np.ndarray
    frame1: np.ndarray
    flow: np.ndarray

    @property
    def n_pixels(self) -> int:
        return self.frame0.size


def to_gray(image: np.ndarray) -> np.ndarray:
    """Rec. 601 luminance as uint8: OpenCV's dense methods take nothing else."""
    if image.ndim == 2:
        return image
    return np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def photograph_case(shape: tuple[int, int]) -> Case:
    """A photograph of scikit-learn, moved by a smooth flow of up to 6 pixels.

    Frames larger than the photograph show it mirrored at its borders, not enlarged, so that the
    texture is as sharp in every size.
    """
    photo = to_gray(load_sample_image("china.jpg"))
    grow = [max(0, wanted - have) for wanted, have in zip(shape, photo.shape)]
    mirrored = np.pad(photo, [(0, n) for n in grow], mode="symmetric")
    pair = make_warped_photograph(
        mirrored[: shape[0], : shape[1]], "sinusoid", magnitude=6.0, shape=shape
    )
    return Case(f"photograph {shape[1]}x{shape[0]}", pair.frame0, pair.frame1, pair.flow)


def data_folder(family: str = "flow") -> Path | None:
    """The folder of a family's data sets, or None where FASTMOTION_DATA is unset."""
    root = os.environ.get("FASTMOTION_DATA")
    return Path(root) / family if root else None


def recorded_cases(names: tuple[str, ...]) -> Iterator[Case]:
    """Pairs of the public data sets, read from FASTMOTION_DATA/flow/<name>."""
    folder = data_folder()
    if folder is None:
        raise FileNotFoundError("set FASTMOTION_DATA to the folder that holds flow/<name>/")
    for name in names:
        frames = [to_gray(read_image(folder / name / f"frame{n}.png")) for n in (10, 11)]
        yield Case(name, *frames, read_flo(folder / name / "flow10.flo"))


def check_result(flow: np.ndarray, case: Case) -> float:
    """Return the end-point error; raise unless the result is a useful flow, so worth timing."""
    if flow.shape != case.flow.shape or flow.dtype != np.float32:
        raise AssertionError(
            f"expected float32 {case.flow.shape}, got {flow.dtype} {flow.shape} on {case.name}"
        )
    error = endpoint_error(case.flow, flow)
    still = endpoint_error(case.flow, np.zeros_like(case.flow))
    if not error < still / 2:
        raise AssertionError(
            f"end-point error {error:.3f} on {case.name}, where no motion at all has {still:.3f}"
        )
    return error
