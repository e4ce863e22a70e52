"""Gaussian mixture regression on a CUDA device.

Work is done in the dtype of the known values, and what is read of the mixture lies in that dtype,
too; but the regression itself is worked out in float64 where that loses digits.
"""

import math

import numpy as np
from numba import cuda, float32, float64, types, void

from fastmotion.core.compile import cuda_kernel
from fastmotion.core.device import launch_shape
from fastmotion.em.kernels.cuda_densities import DTYPES

__all__ = ["draw", "mix_covariances", "mix_means", "regress", "score", "take_columns"]

_WORK = (float32, float64)
_NOWHERE = np.float32(-np.inf)
_HALF = np.float32(0.5)  # exact in either dtype


@cuda_kernel(signatures=tuple(void(w[:, ::1], types.int64[::1], w[:, ::1]) for w in _WORK))
def _take_columns(X, columns, out):
    i = cuda.grid(1)
    if i < out.size:
        row = i // len(columns)
        j = i % len(columns)
        out[row, j] = X[row, columns[j]]


def take_columns(X, columns, out):
    """Copy columns, given by an int64 device array, to the columns of another device array."""
    _take_columns[launch_shape((out.size,))](X, columns, out)


@cuda_kernel(
    signatures=tuple(
        void(data[:, ::1], w[::1], w[:, ::1], w[:, :, ::1], w[:, ::1], data[:, :, ::1])
        for data, w in DTYPES
    )
)
def _regress(X, centre, known_means, slopes, unknown_means, out):
    i = cuda.grid(1)
    if i < out.size:
        n_components, n_unknown = unknown_means.shape
        j = i % n_unknown
        k = i // n_unknown % n_components
        row = i // n_unknown // n_components
        value = slopes.dtype.type(0)
        for m in range(X.shape[1]):
            value += slopes[k, j, m] * (X[row, m] - centre[m] - known_means[k, m])
        out[row, k, j] = value + unknown_means[k, j]


def regress(X, centre, known_means, slopes, unknown_means, out):
    """Set the means of the unknown features, component by component.

    Parameters
    ----------
    X : device array of shape (n, n_known)
    centre : device array of shape (n_known,)
        It and what follows are of the dtype of the work.
    known_means : device array of shape (n_components, n_known)
        Less the centre.
    slopes : device array of shape (n_components, n_unknown, n_known)
    unknown_means : device array of shape (n_components, n_unknown)
    out : device array of shape (n, n_components, n_unknown)
        Of the dtype of X.
    """
    _regress[launch_shape((out.size,))](X, centre, known_means, slopes, unknown_means, out)


@cuda_kernel(signatures=tuple(void(w[:, ::1], w[:, :, ::1], w[:, ::1]) for w in _WORK))
def _mix_means(weights, means, out):
    i = cuda.grid(1)
    if i < out.size:
        row = i // out.shape[1]
        j = i % out.shape[1]
        value = weights.dtype.type(0)
        for k in range(weights.shape[1]):
            value += weights[row, k] * means[row, k, j]
        out[row, j] = value


def mix_means(weights, means, out):
    """Set means over components.

    Parameters
    ----------
    weights : device array of shape (n, n_components)
    means : device array of shape (n, n_components, n_unknown)
    out : device array of shape (n, n_unknown)
    """
    _mix_means[launch_shape((out.size,))](weights, means, out)


@cuda_kernel(
    signatures=tuple(
        void(w[:, ::1], w[:, :, ::1], w[:, :, ::1], w[:, ::1], w[:, :, ::1]) for w in _WORK
    )
)
def _mix_covariances(weights, means, covariances, mean, out):
    place = cuda.grid(1)
    if place < out.size:
        n_unknown = out.shape[1]
        j = place % n_unknown
        i = place // n_unknown % n_unknown
        row = place // n_unknown // n_unknown
        value = weights.dtype.type(0)
        for k in range(weights.shape[1]):
            a = means[row, k, i] - mean[row, i]
            b = means[row, k, j] - mean[row, j]
            value += weights[row, k] * (covariances[k, i, j] + a * b)
        out[row, i, j] = value


def mix_covariances(weights, means, covariances, mean, out):
    """Set covariances within and between components.

    Parameters
    ----------
    weights, means
        As of `mix_means`.
    covariances : device array of shape (n_components, n_unknown, n_unknown)
    mean : device array of shape (n, n_unknown)
    out : device array of shape (n, n_unknown, n_unknown)
    """
    _mix_covariances[launch_shape((out.size,))](weights, means, covariances, mean, out)


@cuda_kernel(
    signatures=tuple(
        void(
            w[:, ::1], w[:, :, ::1], w[:, :, ::1], float64[::1], float64[:, ::1], w[:, ::1]
        )
        for w in _WORK
    )
)  # fmt: skip
def _draw(weights, means, lower, uniform, normal, out):
    row = cuda.grid(1)
    if row >= out.shape[0]:
        return
    total = 0.0
    for k in range(weights.shape[1]):
        total += weights[row, k]
    threshold = uniform[row] * total
    chosen = 0
    total = 0.0
    for k in range(weights.shape[1] - 1):
        total += weights[row, k]
        if total <= threshold:
            chosen = k + 1
    for i in range(out.shape[1]):
        value = 0.0
        for j in range(i + 1):
            value += lower[chosen, i, j] * normal[row, j]
        out[row, i] = means[row, chosen, i] + value


def draw(weights, means, lower, uniform, normal, out):
    """Set values drawn from the mixtures.

    Parameters
    ----------
    weights, means
        As of `mix_means`.
    lower : device array of shape (n_components, n_unknown, n_unknown)
        Factors of the covariances.
    uniform : float64 device array of shape (n,)
        Draws from [0, 1): the component.
    normal : float64 device array of shape (n, n_unknown)
        Normal draws.
    out : device array of shape (n, n_unknown)
    """
    _draw[launch_shape((len(out),))](weights, means, lower, uniform, normal, out)


@cuda_kernel(
    signatures=tuple(
        void(w[:, ::1], w[:, ::1], w[:, :, ::1], w[:, :, ::1], w[::1], w[::1]) for w in _WORK
    )
)
def _score(Y, weights, means, whitening, constants, out):
    row = cuda.grid(1)
    if row >= len(out):
        return
    zero = Y.dtype.type(0)
    one = Y.dtype.type(1)
    # The greatest weighted density so far, and the sum of all over it.
    top = Y.dtype.type(_NOWHERE)
    total = zero
    for k in range(weights.shape[1]):
        if weights[row, k] == zero:
            continue
        square = zero
        for i in range(Y.shape[1]):
            z = zero
            for j in range(i + 1):
                z += whitening[k, i, j] * (Y[row, j] - means[row, k, j])
            square += z * z
        value = constants[k] - _HALF * square + math.log(weights[row, k])
        if value > top:
            total = total * math.exp(top - value) + one
            top = value
        elif value > _NOWHERE:
            total += math.exp(value - top)
    out[row] = top + math.log(total) if total > zero else Y.dtype.type(_NOWHERE)


def score(Y, weights, means, whitening, constants, out):
    """Set the log densities of values.

    Parameters
    ----------
    Y : device array of shape (n, n_unknown)
    weights, means
        As of `mix_means`.
    whitening : device array of shape (n_components, n_unknown, n_unknown)
        Inverses of the factors of the covariances.
    constants : device array of shape (n_components,)
        Log densities at the means.
    out : device array of shape (n,)
    """
    _score[launch_shape((len(out),))](Y, weights, means, whitening, constants, out)
