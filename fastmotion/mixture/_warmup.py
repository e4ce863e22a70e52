"""What `fastmotion.warmup` runs to compile the kernels of mixtures."""

import numpy as np

from fastmotion.core.compile import register_warmup
from fastmotion.mixture._gaussian_mixture import GaussianMixture
from fastmotion.mixture.selection import select_components

# float32 and float64 are compiled apart.
_SAMPLES = [np.array([[0, 0], [0, 1], [4, 4], [4, 5]], dtype) for dtype in (np.float32, np.float64)]


def _warm_up_full_covariances() -> None:
    _fit_and_predict("full")


def _warm_up_diagonal_covariances() -> None:
    _fit_and_predict("diag")


def _warm_up_missing_values() -> None:
    for X in _SAMPLES:
        gaps = np.where(X == 1, np.nan, X)
        GaussianMixture(reg_covar=1.0, tol=1e300).fit(gaps).score_samples(gaps)


def _warm_up_selection() -> None:
    for covariance_type in ("full", "diag"):
        select_components(_SAMPLES[1], max_components=1, covariance_type=covariance_type)


def _fit_and_predict(covariance_type: str) -> None:
    for X in _SAMPLES:
        mixture = GaussianMixture(2, covariance_type=covariance_type, tol=1e300, random_state=0)
        mixture.fit(X).score_samples(X)


register_warmup("mixture", _warm_up_full_covariances)
register_warmup("mixture", _warm_up_diagonal_covariances)
register_warmup("mixture", _warm_up_missing_values)
register_warmup("mixture", _warm_up_selection)
