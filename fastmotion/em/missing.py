"""Rows with missing values: expectation-maximisation over what was observed.

The likelihood of a row is that of its observed part, and the expectation step takes what is missing
from its distribution given that part (Ghahramani and Jordan, "Supervised learning from incomplete
data via an EM approach", 1994; Little and Rubin, "Statistical Analysis with Missing Data", chapter
11). Rows that lack the same features, a *pattern*, have the same regression on what they have: it
is applied to their moments at once, never to single rows.

This is right where values are missing at random: whether one is missing may depend on what was
observed, not on the value itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.memory import Memory
from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.em.kernels import kernels_for
from fastmotion.em.kernels.missing import add_moments_of_patterns, log_densities_of_patterns
from fastmotion.em.passes import GaussianPasses, MomentSums
from fastmotion.em.rows import has_missing, pack_missing

__all__ = [
    "DevicePatterns",
    "MissingDevicePasses",
    "MissingPasses",
    "MissingSums",
    "Pattern",
    "complete",
    "conditional",
    "feature_moments",
    "find_patterns",
    "has_missing",
    "marginal",
    "pattern_order",
]

# Rows looked at together where missing values are sought, so that no mask of the data is held.
_ROWS = 65536
# Passes of its own cost a pattern a quarter of a millisecond. With fewer multiplications than these
# (its rows by components by squared features), going row by row is quicker.
_FEW_WORK = 2e5
# Marginal components that are kept between chunks take no more than about this.
_KEPT_BYTES = 16e6


@dataclass(frozen=True)
class Pattern:
    """Rows in which the same features are observed.

    Attributes
    ----------
    observed : ndarray of shape (n_features,), bool
    rows : ndarray of shape (n_rows,), int64
        Increasing.
    """

    observed: NDArray[np.bool_]
    rows: NDArray[np.int64]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return bool(self.observed.all())

    @property
    def is_empty(self) -> bool:
        """Whether everything is missing."""
        return not self.observed.any()


@dataclass(frozen=True)
class _SmallPatterns:
    """Rows of patterns that few rows have, pattern after pattern.

    Attributes
    ----------
    rows : ndarray of shape (n_rows,), int64
    starts : ndarray of shape (n_patterns + 1,), int64
        First row of each pattern, and the number of rows.
    X : ndarray of shape (n_rows, n_features), float64
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    X: NDArray[np.float64]

    @classmethod
    def gather(cls, X: NDArray, patterns: list[Pattern]) -> _SmallPatterns:
        """Return the rows of some patterns, at least one."""
        rows = np.concatenate([pattern.rows for pattern in patterns])
        starts = np.cumsum([0] + [len(pattern.rows) for pattern in patterns])
        return cls(rows, starts, X[rows].astype(np.float64, copy=False))


def find_patterns(X: NDArray) -> list[Pattern]:
    """Return the patterns of missing values, every row in one of them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        NaN where a value is missing.

    Returns
    -------
    list of Pattern
        The complete rows come first, if there are any; rows without any value come last.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.em.missing import find_patterns
    >>> X = np.array([[1.0, np.nan], [2.0, 3.0], [4.0, np.nan]])
    >>> [(pattern.observed.tolist(), pattern.rows.tolist()) for pattern in find_patterns(X)]
    [([True, True], [1]), ([True, False], [0, 2])]
    """
    order, starts = _sort_by_pattern(X)
    groups = np.split(order, starts[1:])
    return [Pattern(~np.isnan(X[rows[0]]), rows) for rows in groups if len(rows)]


def pattern_order(X: NDArray) -> NDArray[np.int64]:
    """Return the rows in an order in which those of one pattern follow each other.

    Chunks of rows in this order hold few patterns each, which is what `MissingPasses` is quick at.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        NaN where a value is missing.

    Returns
    -------
    ndarray of shape (n_samples,), int64
        A permutation: complete rows first, rows without any value last, each pattern in order.
    """
    return _sort_by_pattern(X)[0]


def feature_moments(
    X: NDArray, sample_weight: NDArray | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted mean and variance of the observed values of each feature.

    A start for components where few rows are complete: `Gaussians` of any means and these
    variances complete them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        NaN where a value is missing.
    sample_weight : ndarray of shape (n_samples,), default=None

    Returns
    -------
    means, variances : ndarray of shape (n_features,), float64
        0 for a feature without any value of positive weight.
    """
    n_features = X.shape[1]
    total = GaussianMoments(
        np.zeros(n_features), np.zeros((n_features, 1)), np.zeros((n_features, 1))
    )
    for first in range(0, len(X), _ROWS):
        values = X[first : first + _ROWS].T
        observed = ~np.isnan(values)
        weight = observed.astype(np.float64)
        if sample_weight is not None:
            weight *= sample_weight[first : first + _ROWS]
        counts = weight.sum(axis=1)
        divisor = np.where(counts > 0, counts, 1)
        values = np.where(observed, values, 0).astype(np.float64)
        means = (weight * values).sum(axis=1) / divisor
        scatter = (weight * (values - means[:, None]) ** 2).sum(axis=1)
        total = total.merge(GaussianMoments(counts, means[:, None], scatter[:, None]))
    return total.means[:, 0], total.scatter[:, 0] / np.where(total.counts > 0, total.counts, 1)


def marginal(gaussians: Gaussians, observed: NDArray[np.bool_]) -> Gaussians:
    """Return the distribution of some of the features.

    Parameters
    ----------
    gaussians : Gaussians
    observed : ndarray of shape (n_features,), bool
        At least one.

    Returns
    -------
    Gaussians
        Of the same covariance type.
    """
    means = gaussians.means[:, observed]
    covariances = gaussians.covariances
    if gaussians.covariance_type == "diag":
        covariances = covariances[:, observed]
    elif gaussians.covariance_type != "spherical":
        covariances = _block(covariances, observed, observed)
    return Gaussians.from_covariances(means, covariances, gaussians.covariance_type)


def conditional(
    gaussians: Gaussians, observed: NDArray[np.bool_], known: Gaussians | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the regression of the missing features on the observed ones.

    Given x_o, the missing features are normal about ``means_m + coefficients @ (x_o - means_o)``
    with a covariance that does not depend on x_o.

    Parameters
    ----------
    gaussians : Gaussians
    observed : ndarray of shape (n_features,), bool
        At least one.
    known : Gaussians, default=None
        ``marginal(gaussians, observed)``, where it is at hand.

    Returns
    -------
    coefficients : ndarray of shape (n_components, n_missing, n_observed), float64
        Σ_mo Σ_oo⁻¹.
    covariances : ndarray of shape (n_components, n_missing, n_missing), float64
        Σ_mm - Σ_mo Σ_oo⁻¹ Σ_om.
    """
    if known is None:
        known = marginal(gaussians, observed)
    matrices, factors = gaussians.full_covariances(), known.full_precisions_cholesky()
    if gaussians.covariance_type == "tied":
        matrices, factors = matrices[:1], factors[:1]
    half = _block(matrices, ~observed, observed) @ factors
    coefficients = half @ np.swapaxes(factors, 1, 2)
    covariances = _block(matrices, ~observed, ~observed) - half @ np.swapaxes(half, 1, 2)
    n_components = gaussians.n_components
    return (
        np.broadcast_to(coefficients, (n_components, *coefficients.shape[1:])),
        np.broadcast_to(covariances, (n_components, *covariances.shape[1:])),
    )


def complete(
    moments: GaussianMoments,
    gaussians: Gaussians,
    observed: NDArray[np.bool_],
    known: Gaussians | None = None,
) -> GaussianMoments:
    """Return the expected moments of all features, from those of the observed ones.

    Parameters
    ----------
    moments : GaussianMoments
        Of the observed features of rows of one pattern.
    gaussians : Gaussians
        Of all features; the missing ones are drawn from them, given the observed ones.
    observed : ndarray of shape (n_features,), bool
        At least one.
    known : Gaussians, default=None
        ``marginal(gaussians, observed)``, where it is at hand.

    Returns
    -------
    GaussianMoments
    """
    full = _empty_moments(gaussians)
    full.counts[:] = moments.counts
    full.means[:, observed] = moments.means
    if gaussians.covariance_type in ("diag", "spherical"):
        full.means[:, ~observed] = gaussians.means[:, ~observed]
        variances = (gaussians.deviations() ** 2)[:, ~observed]
        full.scatter[:, observed] = moments.scatter
        full.scatter[:, ~observed] = moments.counts[:, None] * variances
        return full
    coefficients, covariances = conditional(gaussians, observed, known)
    step = moments.means - gaussians.means[:, observed]
    full.means[:, ~observed] = gaussians.means[:, ~observed] + _apply(coefficients, step)
    have, lack = np.flatnonzero(observed), np.flatnonzero(~observed)
    cross = coefficients @ moments.scatter
    inner = cross @ np.swapaxes(coefficients, 1, 2) + moments.counts[:, None, None] * covariances
    full.scatter[:, have[:, None], have] = moments.scatter
    full.scatter[:, lack[:, None], have] = cross
    full.scatter[:, have[:, None], lack] = np.swapaxes(cross, 1, 2)
    full.scatter[:, lack[:, None], lack] = inner
    return full


@dataclass
class MissingSums:
    """Sums over rows with and without missing values; made by `MissingPasses.new_sums`.

    ``log_likelihood`` is that of all rows.
    """

    complete: MomentSums
    incomplete: GaussianMoments
    log_likelihood: float = 0.0

    def add(self, other: MissingSums) -> None:
        """Add the sums over other samples."""
        self.complete.add(other.complete)
        self.incomplete = self.incomplete.merge(other.incomplete)
        self.log_likelihood += other.log_likelihood

    @property
    def nbytes(self) -> int:
        """Bytes that the sums take."""
        moments = self.incomplete
        own = moments.counts.nbytes + moments.means.nbytes + moments.scatter.nbytes
        return self.complete.nbytes + own


class MissingPasses:
    """Gaussian components laid out for passes over rows with missing values.

    It has the methods of `GaussianPasses`, and as those they may be called from several threads at
    once, each with its own sums. A row without any value has the density 1, belongs to the
    components by their weights, and adds nothing to the moments.

    Parameters
    ----------
    gaussians : Gaussians
    log_weights : ndarray of shape (n_components,), default=None
        Added to the log densities: logarithms of the components' weights.
    """

    def __init__(self, gaussians: Gaussians, *, log_weights: NDArray | None = None) -> None:
        self.gaussians = gaussians
        self._log_weights = np.zeros(gaussians.n_components) if log_weights is None else log_weights
        self._complete = GaussianPasses(gaussians, log_weights=log_weights)
        self._kept: dict[bytes, GaussianPasses] = {}
        work = gaussians.n_components * gaussians.n_features**2
        self._most_kept = int(_KEPT_BYTES / (32 * work))
        self._few_rows = 0
        if gaussians.covariance_type in ("full", "tied"):
            self._few_rows = int(_FEW_WORK / work) + 1
            self._matrices = np.ascontiguousarray(gaussians.full_covariances())

    def log_densities(self, X: NDArray, out: NDArray) -> None:
        """Set ``out`` to the log densities of the observed parts.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            float32 or float64; NaN where a value is missing.
        out : ndarray of shape (n, n_components)
            float32 or float64.
        """
        large, small = self._split(X)
        for pattern in large:
            if pattern.is_empty:
                out[pattern.rows] = self._log_weights
                continue
            part = np.empty((len(pattern.rows), out.shape[1]), out.dtype)
            self._passes(pattern.observed).log_densities(_observed(X, pattern), part)
            out[pattern.rows] = part
        if small is not None:
            out[small.rows] = self._small_log_densities(small)

    def add_statistics(self, X: NDArray, sample_weight: NDArray, sums: MissingSums) -> None:
        """Add the expected moments of samples, and their weighted log-likelihood.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            float32 or float64; NaN where a value is missing.
        sample_weight : float64 ndarray of shape (n,)
        sums : MissingSums
            Added to.
        """
        log_likelihood = 0.0
        large, small = self._split(X)
        for pattern in large:
            if pattern.is_empty:
                continue  # the logarithm of 1
            passes = self._passes(pattern.observed)
            part, weight = passes.new_sums(), sample_weight[pattern.rows]
            passes.add_statistics(_observed(X, pattern), weight, part)
            log_likelihood += part.log_likelihood
            self._add(pattern, passes, part, sums)
        if small is not None:
            shares, weight = self._small_log_densities(small), sample_weight[small.rows]
            log_norms = np.empty(len(shares))
            kernels_for("cpu").normalise_rows(shares, log_norms)
            shares *= weight[:, None]
            self._add_small(small, shares, sums)
            log_likelihood += float(weight @ log_norms)
        sums.log_likelihood += log_likelihood

    def add_moments(self, X: NDArray, responsibilities: NDArray, sums: MissingSums) -> None:
        """Add the expected moments of samples with given responsibilities.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            float32 or float64; NaN where a value is missing.
        responsibilities : ndarray of shape (n, n_components)
            Times sample weights.
        sums : MissingSums
            Added to.
        """
        large, small = self._split(X)
        for pattern in large:
            if pattern.is_empty:
                continue
            passes = self._passes(pattern.observed)
            part, weight = passes.new_sums(), responsibilities[pattern.rows]
            passes.add_moments(_observed(X, pattern), weight, part)
            self._add(pattern, passes, part, sums)
        if small is not None:
            shares = responsibilities[small.rows].astype(np.float64, copy=False)
            self._add_small(small, shares, sums)

    def new_sums(self) -> MissingSums:
        """Return sums over no samples."""
        return MissingSums(self._complete.new_sums(), _empty_moments(self.gaussians))

    def fetch(self, sums: MissingSums) -> MissingSums:
        """Return the sums on the host: themselves."""
        return sums

    def moments(self, sums: MissingSums) -> GaussianMoments:
        """Return the expected moments that sums of this object's stand for."""
        return self._complete.moments(sums.complete).merge(sums.incomplete)

    def chunks(self, n_samples: int) -> list[slice]:
        """Return the parts of so many samples that are summed apart, in order."""
        return self._complete.chunks(n_samples)

    def _split(self, X: NDArray) -> tuple[list[Pattern], _SmallPatterns | None]:
        """Return the patterns that are worth passes of their own, and the others together."""
        patterns = find_patterns(X)
        is_small = [
            len(pattern.rows) < self._few_rows and not (pattern.is_complete or pattern.is_empty)
            for pattern in patterns
        ]
        small = [pattern for pattern, few in zip(patterns, is_small) if few]
        large = [pattern for pattern, few in zip(patterns, is_small) if not few]
        return large, _SmallPatterns.gather(X, small) if small else None

    def _small_log_densities(self, small: _SmallPatterns) -> NDArray[np.float64]:
        out = np.empty((len(small.X), self.gaussians.n_components))
        means, constants = self.gaussians.means, self._log_weights
        log_densities_of_patterns(small.X, small.starts, means, self._matrices, constants, out)
        return out

    def _add_small(
        self, small: _SmallPatterns, shares: NDArray[np.float64], sums: MissingSums
    ) -> None:
        """Add the moments of small patterns, which the kernel sums about the current means."""
        moments, means = _empty_moments(self.gaussians), self.gaussians.means
        counts, first, lower = moments.counts, moments.means, moments.scatter
        add_moments_of_patterns(
            small.X, small.starts, means, self._matrices, shares, counts, first, lower
        )
        step = first / np.where(counts > 0, counts, 1)[:, None]
        scatter = lower + np.swapaxes(np.tril(lower, -1), 1, 2)
        scatter -= counts[:, None, None] * step[:, :, None] * step[:, None, :]
        sums.incomplete = sums.incomplete.merge(GaussianMoments(counts, means + step, scatter))

    def _passes(self, observed: NDArray[np.bool_]) -> GaussianPasses:
        if observed.all():
            return self._complete
        key = observed.tobytes()
        passes = self._kept.get(key)
        if passes is None:
            known = marginal(self.gaussians, observed)
            passes = GaussianPasses(known, log_weights=self._log_weights)
            if len(self._kept) < self._most_kept:
                self._kept[key] = passes
        return passes

    def _add(
        self, pattern: Pattern, passes: GaussianPasses, part: MomentSums, sums: MissingSums
    ) -> None:
        if pattern.is_complete:
            sums.complete.add(part)
            return
        known = passes.gaussians
        moments = complete(passes.moments(part), self.gaussians, pattern.observed, known)
        sums.incomplete = sums.incomplete.merge(moments)


@dataclass(frozen=True)
class DevicePatterns:
    """Which rows of an array on a CUDA device have missing values, sorted by which.

    Attributes
    ----------
    order : int64 device array of shape (n_incomplete,)
        Rows, in parts of fixed size, sorted in each part by what they miss.
    starts : int64 device array of shape (n_parts + 1,)
        Where in it each part begins.
    """

    order: Any
    starts: Any

    @classmethod
    def of(cls, X: Any, memory: Memory) -> DevicePatterns:
        """Return the patterns of a Numba device array, good until the memory's scope ends."""
        packed = pack_missing(X)
        size = kernels_for(memory.device.kind).PART
        rows = np.flatnonzero(packed.any(axis=1))
        parts = rows // size
        order = rows[np.lexsort((codes_of(packed[rows]), parts))]
        starts = np.searchsorted(parts, np.arange(-(-len(X) // size) + 1))
        return cls(memory.put(order), memory.put(starts))


class MissingDevicePasses(GaussianPasses):
    """Gaussian components laid out for passes over rows with missing values on a CUDA device.

    Rows mean what they mean to `MissingPasses`, but sums are those of `GaussianPasses`.

    Parameters
    ----------
    gaussians : Gaussians
    patterns : DevicePatterns
        Of the rows: all of them are passed to each method.
    memory : Memory
    log_weights : ndarray of shape (n_components,), default=None
        Added to the log densities: logarithms of the components' weights.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        *,
        patterns: DevicePatterns,
        memory: Memory,
        log_weights: NDArray | None = None,
    ) -> None:
        super().__init__(gaussians, log_weights=log_weights, memory=memory, as_matrices=True)
        constants = np.zeros(gaussians.n_components) if log_weights is None else log_weights
        covariances = np.ascontiguousarray(gaussians.full_covariances())
        self._incomplete = self._kernels.Incomplete(
            patterns.order,
            patterns.starts,
            *map(memory.put, (gaussians.means, covariances, constants)),
        )

    def log_densities(self, X: Any, out: Any) -> None:
        """Set ``out``, of shape (n, n_components), to the log densities of the observed parts."""
        self._kernels.log_densities_missing(X, self._incomplete, *self._parameters, out)

    def density_blocks(self, X: Any) -> Any:
        """Yield blocks of samples with the log densities of their observed parts in scratch."""
        return self._kernels.density_blocks_missing(X, self._incomplete, *self._parameters)

    def add_statistics(self, X: Any, sample_weight: Any, sums: MomentSums) -> None:
        """Add the expected moments of samples, and their weighted log-likelihood."""
        self._kernels.statistics_missing(
            X, sample_weight, self._incomplete, *self._parameters, sums.values
        )

    def add_moments(self, X: Any, responsibilities: Any, sums: MomentSums) -> None:
        """Add the expected moments of samples with given responsibilities."""
        centre, means, *_ = self._parameters
        self._kernels.add_moments_missing(
            X, responsibilities, self._incomplete, centre, means, sums.values
        )


def _empty_moments(gaussians: Gaussians) -> GaussianMoments:
    return GaussianMoments.empty(
        gaussians.n_components, gaussians.n_features, gaussians.covariance_type
    )


def _sort_by_pattern(X: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows in the order of their patterns, and where each pattern starts."""
    codes = np.concatenate(
        [_codes(X[i : i + _ROWS]) for i in range(0, len(X), _ROWS)] or [_codes(X)]
    )
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    is_first = np.ones(len(codes), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return order, np.flatnonzero(is_first)


def _codes(X: NDArray) -> NDArray:
    """Return one number, or one string of bytes, for the missing features of each row."""
    return codes_of(pack_missing(X))


def codes_of(packed: NDArray[np.uint8]) -> NDArray:
    """Return one number, or one string of bytes, for the bits of each row."""
    if packed.shape[1] > 8:
        return packed.view(f"S{packed.shape[1]}")[:, 0]
    wide = np.zeros((len(packed), 8), np.uint8)
    wide[:, 8 - packed.shape[1] :] = packed
    return wide.view(">u8")[:, 0].astype(np.uint64)


def _observed(X: NDArray, pattern: Pattern) -> NDArray:
    """Return the observed values of a pattern's rows."""
    if pattern.is_complete:
        return X if len(pattern.rows) == len(X) else X[pattern.rows]
    return X[np.ix_(pattern.rows, np.flatnonzero(pattern.observed))]


def _block(matrices: NDArray, rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> NDArray:
    return matrices[..., np.flatnonzero(rows)[:, None], np.flatnonzero(columns)]


def _apply(matrices: NDArray, vectors: NDArray) -> NDArray:
    return (matrices @ vectors[..., None])[..., 0]
