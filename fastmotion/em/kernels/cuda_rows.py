"""What is asked of the log densities of each sample on a CUDA device: a thread for each.

Log densities lie component by component, (n_components, n_samples), so that neighbouring threads
read neighbouring numbers.
"""

import math

import numpy as np
from numba import cuda, float32, float64, int64, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import block_size, launch_shape
from fastmotion.core.kernels.cuda import block_sum
from fastmotion.em.kernels.cuda_moments import CHUNK
from fastmotion.em.kernels.layout import HEAD

__all__ = [
    "add_entropies",
    "find_largest",
    "log_norms",
    "posteriors",
    "scale",
    "take_largest",
    "weigh",
]

_THREADS = block_size(256, 4)
# Samples of a block: the sums of a chunk's blocks are the first HEAD of the chunk's sums.
_SHARE = CHUNK // HEAD

_NOWHERE = np.float32(-np.inf)
_TWO = np.float32(2)  # exact in either dtype

_WORK = (float32, float64)


@cuda_function
def _log_norm(log_p, s):
    """Return the logarithm of the sum of a sample's densities; minus infinity if it is 0."""
    top = log_p[0, s]
    for k in range(1, log_p.shape[0]):
        top = max(top, log_p[k, s])
    if top > _NOWHERE:
        total = log_p.dtype.type(0)
        for k in range(log_p.shape[0]):
            total += math.exp(log_p[k, s] - top)
        top += math.log(total)
    return top


@cuda_function
def _largest(log_p, s):
    """Return the first of a sample's components of greatest density."""
    best = 0
    top = log_p[0, s]
    for k in range(1, log_p.shape[0]):
        if log_p[k, s] > top:
            top = log_p[k, s]
            best = k
    return best


@cuda_function
def _weight_of(weights, s):
    return weights[s] if weights.size > 0 else weights.dtype.type(1)


@cuda_kernel(
    signatures=tuple(
        void(work[:, ::1], int64, data[::1], work[:, ::1])
        for work, data in ((float32, float32), (float64, float32), (float64, float64))
    )
)
def _weigh(log_p, n, weights, partial):
    scratch = cuda.shared.array(_THREADS, log_p.dtype)
    zero = log_p.dtype.type(0)
    total = zero
    first = cuda.blockIdx.x * _SHARE
    for s in range(first + cuda.threadIdx.x, min(first + _SHARE, n), _THREADS):
        w = log_p.dtype.type(_weight_of(weights, s))
        norm = _log_norm(log_p, s)
        total += w * norm if w > zero else zero  # nothing may be minus infinity times
        for k in range(log_p.shape[0]):
            log_p[k, s] = w * math.exp(log_p[k, s] - norm) if norm > _NOWHERE else zero
    total = block_sum(total, scratch)
    if cuda.threadIdx.x == 0:
        partial[cuda.blockIdx.x // HEAD, cuda.blockIdx.x % HEAD] = total


def weigh(log_p, n, weights, partial):
    """Turn log densities, in place, into responsibilities times weights; sum the log-likelihoods.

    Parameters
    ----------
    log_p : device array of shape (n_components, at least n)
    n : int
    weights : device array of shape (n,) or (0,)
        Empty for ones.
    partial : device array of shape (at least n_chunks, at least HEAD)
        The first HEAD sums of each chunk are set.
    """
    _weigh[_blocks(n), _THREADS](log_p, n, weights, partial)


def _blocks(n):
    """Return the number of blocks: as many as parts of whole chunks."""
    return max(1, -(-n // CHUNK)) * HEAD


@cuda_kernel(
    signatures=tuple(
        void(work[:, ::1], int64, data[::1], work[:, ::1])
        for work, data in ((float32, float32), (float64, float32), (float64, float64))
    )
)
def _add_entropies(log_p, n, weights, partial):
    scratch = cuda.shared.array(_THREADS, log_p.dtype)
    zero = log_p.dtype.type(0)
    total = zero
    first = cuda.blockIdx.x * _SHARE
    for s in range(first + cuda.threadIdx.x, min(first + _SHARE, n), _THREADS):
        norm = _log_norm(log_p, s)
        entropy = zero
        if norm > _NOWHERE:
            for k in range(log_p.shape[0]):
                share = math.exp(log_p[k, s] - norm)
                # A share of 0 adds nothing, though its logarithm is minus infinity.
                if share > zero:
                    entropy -= share * (log_p[k, s] - norm)
        total += _weight_of(weights, s) * entropy
    total = block_sum(total, scratch)
    if cuda.threadIdx.x == 0:
        partial[cuda.blockIdx.x // HEAD, cuda.blockIdx.x % HEAD] = total


def add_entropies(log_p, n, weights, partial):
    """Sum the weighted entropies of the samples' components; arguments as of `weigh`."""
    _add_entropies[_blocks(n), _THREADS](log_p, n, weights, partial)


@cuda_kernel(signatures=tuple(void(work[:, ::1], int64, int64[::1]) for work in _WORK))
def _find_largest(log_p, n, labels):
    s = cuda.grid(1)
    if s < n:
        labels[s] = _largest(log_p, s)


def find_largest(log_p, n, labels):
    """Set the component of greatest density of each sample.

    Parameters
    ----------
    log_p : device array of shape (n_components, at least n)
    n : int
    labels : int64 device array of shape (n,)
    """
    _find_largest[launch_shape((n,))](log_p, n, labels)


@cuda_kernel(
    signatures=tuple(
        void(work[:, ::1], int64, out[::1])
        for work, out in ((float32, float32), (float64, float32), (float64, float64))
    )
)
def _log_norms(log_p, n, out):
    s = cuda.grid(1)
    if s < n:
        out[s] = _log_norm(log_p, s)


def log_norms(log_p, n, out):
    """Set the log-likelihood of each sample; arguments as of `find_largest`."""
    _log_norms[launch_shape((n,))](log_p, n, out)


@cuda_kernel(signatures=tuple(void(work[:, ::1], int64, work[::1]) for work in _WORK))
def _posteriors(log_p, n, shares):
    s = cuda.grid(1)
    if s < n:
        norm = _log_norm(log_p, s)
        for k in range(log_p.shape[0]):
            log_p[k, s] = math.exp(log_p[k, s] - norm) if norm > _NOWHERE else shares[k]


def posteriors(log_p, n, shares):
    """Turn log densities, in place, into responsibilities.

    ``shares`` are those of a sample of no density, to which no component is nearer than another.
    """
    _posteriors[launch_shape((n,))](log_p, n, shares)


@cuda_kernel(
    signatures=tuple(
        void(work[:, ::1], int64, data[::1])
        for work, data in ((float32, float32), (float64, float32), (float64, float64))
    )
)
def _scale(r, n, weights):
    s = cuda.grid(1)
    if s < n:
        for k in range(r.shape[0]):
            r[k, s] *= weights[s]


def scale(r, n, weights):
    """Multiply the responsibilities of each sample, in place, by its weight, if there are any."""
    if weights.size:
        _scale[launch_shape((n,))](r, n, weights)


@cuda_kernel(
    signatures=tuple(
        void(work[:, ::1], int64, data[::1], work[::1])
        for work, data in ((float32, float32), (float64, float32), (float64, float64))
    )
)
def _take_largest(log_p, n, weights, distances):
    s = cuda.grid(1)
    if s < n:
        best = _largest(log_p, s)
        if distances.size > 0:
            distances[s] = -_TWO * log_p[best, s]
        for k in range(log_p.shape[0]):
            log_p[k, s] = 0
        log_p[best, s] = _weight_of(weights, s)


def take_largest(log_p, n, weights, distances):
    """Turn log densities, in place, into weights: all of a sample's to the component of greatest.

    Parameters
    ----------
    log_p : device array of shape (n_components, at least n)
    n : int
    weights : device array of shape (n,) or (0,)
        Empty for ones.
    distances : device array of shape (at least n,) or (0,)
        Minus twice the greatest log density, if there is room.
    """
    _take_largest[launch_shape((n,))](log_p, n, weights, distances)
