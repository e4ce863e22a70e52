"""Mixtures on a CUDA device: the search for components, and regression.

Passes over data are those of `search`; what does not grow with the data is done on the host, by its
functions.
"""

import math

import numpy as np
from numba import cuda, float64, int64, types, void

from fastmotion.core.compile import cuda_kernel
from fastmotion.core.device import block_size
from fastmotion.core.kernels.cuda import block_sum
from fastmotion.em.kernels import cuda as em
from fastmotion.em.kernels.scalar import exp_of_negative
from fastmotion.mixture.kernels.cuda_regression import (
    draw,
    mix_covariances,
    mix_means,
    regress,
    score,
    take_columns,
)
from fastmotion.mixture.kernels.scalar import loss_of_merger
from fastmotion.mixture.kernels.search import DIAG, lay_out_diag, lay_out_full, maximise

__all__ = [
    "climb",
    "draw",
    "losses_of_mergers",
    "mix_covariances",
    "mix_means",
    "regress",
    "score",
    "take_columns",
]

_THREADS = block_size(256, 4)


def climb(X, sample_weight, centre, kind, floor, components, tol, max_iter, memory):
    """Improve a mixture, in place, by EM; return its log-likelihood.

    Parameters
    ----------
    X : device array of shape (n, n_features)
    sample_weight : device array of shape (n,) or (0,), of the dtype of X
    centre : float64 device array of shape (n_features,)
    kind, floor, tol, max_iter
        As of `fastmotion.mixture.kernels.search.climb_full`.
    components : tuple of ndarray
        Weights, means and covariances, on the host.
    memory : Memory
        Of the device.
    """
    n_components, width = len(components[0]), -(-X.shape[1] // 4) * 4
    n_padded = n_components + n_components % 2
    n_second = n_padded * width if kind >= DIAG else n_components * width * width
    lay_out = lay_out_diag if kind >= DIAG else lay_out_full
    statistics = em.statistics_diag if kind >= DIAG else em.statistics_full
    before = -math.inf
    n_iter = 0
    while True:
        with memory.scope():
            sums = memory.zeros(em.HEAD + n_padded * (1 + width) + n_second, np.float64)
            means, factors, constants = map(memory.put, lay_out(*components))
            statistics(X, sample_weight, centre, means, factors, constants, sums)
            found = memory.fetch(sums)
        log_likelihood = float(sum(found[: em.HEAD].tolist()))
        if n_iter >= max_iter or log_likelihood - before < tol:
            return log_likelihood
        before = log_likelihood
        n_iter += 1
        maximise(kind, floor, found, *components)


def losses_of_mergers(X, sample_weight, centre, kind, pairs, weights, means, covariances, memory):
    """Return by how much less the log-likelihood of samples is with each of some mergers.

    Parameters
    ----------
    X, sample_weight, centre, memory
        As of `climb`.
    kind, pairs, weights, means, covariances
        As of `fastmotion.mixture.kernels.search.losses_of_mergers`, on the host.

    Returns
    -------
    ndarray of shape (n_pairs,), float64
    """
    lay_out = lay_out_diag if kind >= DIAG else lay_out_full
    blocks = em.density_blocks_diag if kind >= DIAG else em.density_blocks_full
    with memory.scope():
        laid = map(memory.put, lay_out(weights, means, covariances))
        total = memory.zeros(len(pairs), np.float64)
        there = memory.put(pairs)
        for rows, log_p in blocks(X, centre, *laid):
            n = rows.stop - rows.start
            n_blocks = -(-n // _THREADS)
            with memory.scope():
                partial = memory.empty((n_blocks, len(pairs)), np.float64)
                part = em.part(sample_weight, rows)
                _sum_losses[n_blocks, _THREADS](log_p, n, there, part, partial)
                em.merge(partial, n_blocks, total, 0)
        return memory.fetch(total)


@cuda_kernel(
    signatures=tuple(
        void(float64[:, ::1], int64, int64[:, ::1], data[::1], float64[:, ::1])
        for data in (types.float32, types.float64)
    )
)
def _sum_losses(log_p, n, pairs, weights, partial):
    scratch = cuda.shared.array(_THREADS, np.float64)
    s = cuda.grid(1)
    n_components = log_p.shape[0] - len(pairs)
    top = 0.0
    total = 0.0
    if s < n:
        top = log_p[0, s]
        for k in range(1, n_components):
            top = max(top, log_p[k, s])
        for k in range(n_components):
            total += exp_of_negative(log_p[k, s] - top)
    for i in range(len(pairs)):
        loss = 0.0
        if s < n:
            p_a = exp_of_negative(log_p[pairs[i, 0], s] - top)
            p_b = exp_of_negative(log_p[pairs[i, 1], s] - top)
            loss = loss_of_merger(p_a, p_b, log_p[n_components + i, s] - top, total)
            if weights.size > 0:
                loss *= weights[s]
        loss = block_sum(loss, scratch)
        if cuda.threadIdx.x == 0:
            partial[cuda.blockIdx.x, i] = loss
