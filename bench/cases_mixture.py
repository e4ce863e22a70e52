"""What is timed of Gaussian mixtures: a number of iterations, and a whole fit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from bench import peers_mixture as peers
from bench.cases import data_folder
from fastmotion.benchmark.mixture import start_near
from fastmotion.datasets import TrueMixture, make_gaussian_mixture
from fastmotion.mixture import GaussianMixture

OURS = "fastmotion"
# Seeds of a whole fit: how many iterations one takes is a matter of luck.
SEEDS = (0, 1, 2)
# Samples that densities are compared on.
_CHECKED = 2000
# Most difference between the mean log-densities of two fits.
_ROUNDING = {"float64": 1e-5, "float32": 1e-3}
_OTHER_OPTIMUM = 0.5
# With 64 no start of oneDAL's stays regular.
_MOST_DAAL_FEATURES = 32


@functools.lru_cache(maxsize=1)
def mixture(n_samples: int, n_features: int, n_components: int, dtype: str = "float64") -> Bunch:
    """Samples `X`, and the mixture `truth` that they come from."""
    data = make_gaussian_mixture(
        n_samples, n_components=n_components, n_features=n_features, random_state=0
    )
    return Bunch(X=data.X.astype(dtype, copy=False), truth=data.truth)


@dataclass(frozen=True)
class Iterations:
    """A given number of iterations of EM from a given start."""

    n_samples: int
    n_features: int
    n_components: int
    covariance_type: str = "full"
    dtype: str = "float64"

    def __str__(self) -> str:
        size = f"{self.n_samples // 1000}k, {self.n_features}, {self.n_components}"
        return f"{size}, {self.covariance_type}, {self.dtype}"

    @property
    def methods(self) -> tuple[str, ...]:
        return _methods(self.covariance_type)

    def build(self, name: str, n_iter: int) -> Callable[[], TrueMixture]:
        """Return what is timed; ImportError where the library is missing."""
        X = self._data.X
        start = start_near(self._data.truth).astype(X.dtype)
        arguments = (X, start, self.covariance_type, n_iter)
        if name == peers.DAAL:
            return peers.iterate_daal(*arguments)
        return functools.partial(peers.iterate, _ESTIMATORS[name], *arguments)

    def check(self, name: str, n_iter: int, result: TrueMixture) -> None:
        """Raise unless the mixture is ours after as many iterations."""
        X = self._data.X[:_CHECKED]
        ours = _ours_after(self, n_iter)
        atol = _ROUNDING[self.dtype]
        np.testing.assert_allclose(result.weights, ours.weights, atol=atol, err_msg=name)
        expected = ours.score_samples(X).mean()
        np.testing.assert_allclose(result.score_samples(X).mean(), expected, atol=atol, rtol=0)

    @property
    def _data(self) -> Bunch:
        return mixture(self.n_samples, self.n_features, self.n_components, self.dtype)


@functools.lru_cache(maxsize=2)
def _ours_after(case: Iterations, n_iter: int) -> TrueMixture:
    return case.build(OURS, n_iter)()


@dataclass(frozen=True)
class WholeFit:
    """Fits of float64 with scikit-learn's defaults, one of each seed."""

    n_samples: int
    n_features: int
    n_components: int
    covariance_type: str = "full"

    def __str__(self) -> str:
        size = f"{self.n_samples // 1000}k, {self.n_features}, {self.n_components}"
        return f"{size}, {self.covariance_type}"

    @property
    def methods(self) -> tuple[str, ...]:
        """Ours, and the peers that come to an end."""
        methods = _methods(self.covariance_type)
        is_small = self.n_features <= _MOST_DAAL_FEATURES
        return methods if is_small else tuple(m for m in methods if m != peers.DAAL)

    def build(self, name: str) -> Callable[[], list[TrueMixture]]:
        """Return what is timed."""
        arguments = (self._data.X, self.n_components, self.covariance_type)
        if name == peers.DAAL:
            fit = peers.fit_daal(*arguments)
        else:
            fit = functools.partial(peers.fit, _ESTIMATORS[name], *arguments)
        return lambda: [fit(seed) for seed in SEEDS]

    @property
    def n_fits(self) -> int:
        return len(SEEDS)

    def score(self, mixtures: list[TrueMixture]) -> float:
        """Mean log-density of all samples, the mean over the seeds."""
        return float(np.mean([m.score_samples(self._data.X).mean() for m in mixtures]))

    def check(self, name: str, mixtures: list[TrueMixture]) -> None:
        """Raise unless each mixture is about as likely as the one that made the samples."""
        X = self._data.X[:_CHECKED]
        least = self._data.truth.score_samples(X).mean() - _OTHER_OPTIMUM * np.sqrt(self.n_features)
        for mixture in mixtures:
            np.testing.assert_array_less(least, mixture.score_samples(X).mean(), err_msg=name)

    @property
    def _data(self) -> Bunch:
        return mixture(self.n_samples, self.n_features, self.n_components)


def _methods(covariance_type: str) -> tuple[str, ...]:
    """Ours, and the peers that have the type of covariance."""
    daal = (peers.DAAL,) if peers.has_daal_type(covariance_type) else ()
    return (OURS, peers.SKLEARN, *daal)


_ESTIMATORS: dict[str, Callable] = {
    OURS: GaussianMixture,
    peers.SKLEARN: peers.GaussianMixture,
}


# --- Recorded sets of points in the plane


def recorded(name: str) -> tuple[np.ndarray, int]:
    """Points and their number of classes, read from FASTMOTION_DATA/mixture."""
    folder: Path | None = data_folder("mixture")
    if folder is None:
        raise FileNotFoundError("set FASTMOTION_DATA to the folder that holds mixture/")
    labels = np.loadtxt(folder / f"{name}.labels0.gz")
    return np.loadtxt(folder / f"{name}.data.gz"), len(np.unique(labels))
