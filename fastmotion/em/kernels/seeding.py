"""Distances of samples to centres on the CPU: the loops of k-means.

Samples lie in blocks ``(n_blocks, n_features, BLOCK)``, so that the loops run over samples side by
side. A difference is squared as it is, never expanded: data far from the origin lose no digits.
"""

from __future__ import annotations

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel

# Samples of a block: their features stay in the first caches. Not a power of two, or the features
# of one sample would compete for the same lines of the cache.
BLOCK = 264


@cpu_function
def _add_four(q, x0, x1, x2, x3, c0, c1, c2, c3, n):
    """Add the squared differences in four features."""
    for b in range(n):
        d0, d1, d2, d3 = x0[b] - c0, x1[b] - c1, x2[b] - c2, x3[b] - c3
        q[b] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)


@cpu_function
def _add_one(q, x, c, n):
    """Add the squared differences in one feature."""
    for b in range(n):
        d = x[b] - c
        q[b] += d * d


@cpu_function
def _add_observed(q, x, c, n):
    """Add the squared differences in one feature where it is observed."""
    for b in range(n):
        d = x[b] - c
        q[b] += d * d if d == d else x.dtype.type(0)


@cpu_function
def _set_distances(q, x, c, has_missing, n):
    """Set `q` to the squared distances of a block to one centre."""
    n_features = len(c)
    for b in range(n):
        q[b] = 0
    if has_missing:
        for j in range(n_features):
            _add_observed(q, x[j], c[j], n)
        return
    fours = n_features - n_features % 4
    for j in range(0, fours, 4):
        _add_four(q, x[j], x[j + 1], x[j + 2], x[j + 3], c[j], c[j + 1], c[j + 2], c[j + 3], n)
    for j in range(fours, n_features):
        _add_one(q, x[j], c[j], n)


@cpu_function
def _keep_nearest(best, index, q, label, n):
    for b in range(n):
        nearer = q[b] < best[b]
        best[b] = q[b] if nearer else best[b]
        index[b] = label if nearer else index[b]


@cpu_function(fastmath="reassociate")
def _potential(q, closest, weights, n):
    total = 0.0
    for b in range(n):
        total += weights[b] * min(q[b], closest[b])
    return total


@cpu_kernel
def pack(X, shift, scale, blocks):
    """Copy samples, moved and scaled, to blocks.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    shift : array of shape (n_features,)
    scale : float
        Samples become ``(x - shift) * scale``.
    blocks : array of shape (ceil(n_rows / BLOCK), n_features, BLOCK)
        Written, but for places past the last sample.
    """
    for i in range(X.shape[0]):
        x = blocks[i // BLOCK]
        b = i % BLOCK
        for j in range(X.shape[1]):
            x[j, b] = (X[i, j] - shift[j]) * scale


@cpu_kernel(fastmath="contract")
def find_nearest(blocks, centres, has_missing, labels, distances):
    """Set the label of the nearest centre and the squared distance to it.

    Parameters
    ----------
    blocks : array of shape (n_blocks, n_features, BLOCK)
        With `has_missing`, distances sum over the features that are not NaN.
    centres : array of shape (n_centres, n_features)
    has_missing : bool
    labels : int32 array of shape (n_rows,)
        Written.
    distances : array of shape (n_rows,)
        Written.
    """
    dtype = blocks.dtype
    q = np.empty(BLOCK, dtype)
    best = np.empty(BLOCK, dtype)
    # Labels as wide as the distances are: the comparison then runs side by side.
    index = np.empty(BLOCK, dtype)
    for block in range(len(blocks)):
        first = block * BLOCK
        n = min(BLOCK, len(labels) - first)
        for b in range(n):
            best[b] = np.inf
            index[b] = 0
        for k in range(len(centres)):
            _set_distances(q, blocks[block], centres[k], has_missing, n)
            _keep_nearest(best, index, q, dtype.type(k), n)
        for b in range(n):
            labels[first + b] = np.int32(index[b])
            distances[first + b] = best[b]


@cpu_kernel(fastmath="contract")
def add_potentials(blocks, candidates, weights, closest, keep, potentials):
    """Add what the weighted distances to the nearest centre sum to with each of some candidates.

    Parameters
    ----------
    blocks : array of shape (n_blocks, n_features, BLOCK)
    candidates : array of shape (n_candidates, n_features)
        Possible further centres.
    weights : float64 array of shape (n_rows,)
    closest : array of shape (n_rows,)
        Squared distances to the nearest centre so far.
    keep : bool
        Whether `closest` is brought down to the distances to the candidates.
    potentials : float64 array of shape (n_candidates,)
        Added to.
    """
    q = np.empty(BLOCK, blocks.dtype)
    for block in range(len(blocks)):
        first = block * BLOCK
        n = min(BLOCK, len(weights) - first)
        near = closest[first:]
        for t in range(len(candidates)):
            _set_distances(q, blocks[block], candidates[t], False, n)
            potentials[t] += _potential(q, near, weights[first:], n)
            if keep:
                for b in range(n):
                    near[b] = min(q[b], near[b])


@cpu_kernel
def add_members(blocks, weights, labels, sums, counts):
    """Add the weights of samples, and the weighted samples, to their clusters.

    Parameters
    ----------
    blocks : array of shape (n_blocks, n_features, BLOCK)
    weights : float64 array of shape (n_rows,)
    labels : int32 array of shape (n_rows,)
    sums : float64 array of shape (n_features, n_clusters)
        Added to.
    counts : float64 array of shape (n_clusters,)
        Added to.
    """
    for block in range(len(blocks)):
        first = block * BLOCK
        n = min(BLOCK, len(labels) - first)
        for b in range(n):
            counts[labels[first + b]] += weights[first + b]
        for j in range(blocks.shape[1]):
            for b in range(n):
                sums[j, labels[first + b]] += weights[first + b] * blocks[block, j, b]
