"""What is timed of features of motion: histograms of the flow of a clip, Fisher vectors of bags."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench import peers_features as peers
from bench.cases import VGA, photograph_case
from fastmotion.benchmark.features import scikit_image_fisher
from fastmotion.features import FisherVector, FlowHistogram
from fastmotion.flow import HornSchunck

OURS = "fastmotion"
FLOW = "flow, Horn-Schunck fast"

N_ORIENTATIONS, STILL = 8, 0.4


@functools.lru_cache(maxsize=1)
def clip_of_flow(n_pairs: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A smooth flow of up to 6 pixels, with noise, of shape (n_pairs, height, width, 2)."""
    flow = photograph_case(shape).flow
    noise = np.random.default_rng(0).normal(scale=0.2, size=(n_pairs, *flow.shape))
    return (flow + noise).astype(np.float32)


@dataclass(frozen=True)
class Histograms:
    """Histograms of flow and of motion boundaries of one clip, over a grid or in blocks."""

    n_pairs: int
    grid: tuple[int, int, int] = (3, 2, 2)
    block_shape: tuple[int, int, int] | None = None
    shape: tuple[int, int] = VGA

    def __str__(self) -> str:
        height, width = self.shape
        what = f"grid {'x'.join(map(str, self.grid))}"
        if self.block_shape is not None:
            what += f" in blocks of {'x'.join(map(str, self.block_shape))}"
        return f"{self.n_pairs} pairs of {width}x{height}, {what}"

    @property
    def methods(self) -> tuple[str, ...]:
        """Ours, the flow itself, and peers; nobody writes blocks that overlap in NumPy."""
        return (OURS, FLOW) if self.block_shape else (OURS, FLOW, *peers.HISTOGRAMS)

    def build(self, name: str) -> Callable[[], NDArray]:
        """Return what is timed."""
        clip = clip_of_flow(self.n_pairs, self.shape)
        if name == OURS:
            histogram = FlowHistogram(
                N_ORIENTATIONS, grid=self.grid, block_shape=self.block_shape,
                still_threshold=STILL, normalization=None,
            )  # fmt: skip
            return lambda: histogram.transform(clip[np.newaxis])[0]
        if name == FLOW:
            case = photograph_case(self.shape)
            frames = np.stack([case.frame0, case.frame1])[np.arange(self.n_pairs + 1) % 2]
            estimator = HornSchunck.from_preset("fast")
            return lambda: estimator.transform(frames[np.newaxis])
        cells = peers.cells_of_pixels(clip.shape[:3], self.grid)
        polar = peers.polar_of(name)

        def call() -> NDArray:
            sums = peers.histograms(clip, cells, N_ORIENTATIONS, STILL, polar)
            return np.concatenate([part.ravel() for part in sums])

        return call

    def check(self, name: str, found: NDArray) -> None:
        """Raise unless sums are those of NumPy; OpenCV's angles are good to 0.3 degrees."""
        if name == FLOW:
            return
        if self.block_shape is not None:
            # The flow beyond a block's far ends shows in its motion boundaries: they are left out.
            expected = self._flow_of_first_block
            np.testing.assert_allclose(found[0, : expected.size], expected, rtol=1e-3, atol=1e-2)
            return
        error = np.abs(found - self._expected).max() / self._expected.max()
        assert error < (2e-2 if name == peers.OPENCV else 1e-4), f"{name} is off by {error:.2g}"

    @functools.cached_property
    def _expected(self) -> NDArray:
        return self.build(peers.NUMPY)()

    @functools.cached_property
    def _flow_of_first_block(self) -> NDArray:
        assert self.block_shape is not None
        n_pairs, height, width = self.block_shape
        part = clip_of_flow(self.n_pairs, self.shape)[:n_pairs, :height, :width]
        cells = peers.cells_of_pixels(part.shape[:3], self.grid)
        sums = peers.histograms(part, cells, N_ORIENTATIONS, STILL, peers.numpy_polar)
        return sums[0].ravel()


@dataclass(frozen=True)
class Fisher:
    """Fisher vectors of bags, from a mixture at hand."""

    n_bags: int
    n_descriptors: int
    n_features: int
    n_components: int
    dtype: type = np.float32

    def __str__(self) -> str:
        return (
            f"{self.n_bags} bags of {self.n_descriptors} x {self.n_features} "
            f"{np.dtype(self.dtype)}, {self.n_components} components"
        )

    @property
    def methods(self) -> tuple[str, ...]:
        return OURS, peers.SKIMAGE

    def build(self, name: str) -> Callable[[], NDArray]:
        """Return what is timed."""
        if name == OURS:
            return lambda: self._fitted.transform(self._bags)
        return scikit_image_fisher(self._bags, self._fitted.mixture_)

    def check(self, name: str, found: NDArray) -> None:
        """Raise unless vectors are scikit-image's, but for the sign of half of them."""
        expected = np.abs(scikit_image_fisher(self._bags[:1], self._fitted.mixture_)())
        error = np.abs(np.abs(found[:1]) - expected).max() / expected.max()
        assert error < 1e-3, f"{name} is off by {error:.2g}"

    @functools.cached_property
    def _bags(self) -> NDArray:
        rng = np.random.default_rng(0)
        bags = rng.normal(size=(self.n_bags, self.n_descriptors, self.n_features))
        return (bags + rng.integers(0, 4, bags.shape[:2])[..., np.newaxis]).astype(self.dtype)

    @functools.cached_property
    def _fitted(self) -> FisherVector:
        fisher = FisherVector(
            self.n_components, power=1.0, normalization=None, max_samples=20_000, tol=0.01,
            random_state=0,
        )  # fmt: skip
        return fisher.fit(self._bags)
