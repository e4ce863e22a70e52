"""Loops over samples in blocks: densities of Gaussian components and weighted moments.

A block holds 128 samples, or 256 of float32, with one row for each feature, so that the innermost
loops run along samples, whatever the number of features is, and have a length that the compiler
knows. Rows are
padded: features to a multiple of four, components to an even number. Block arrays have the dtype of
the work (float32 or float64); sums over blocks are float64.

Naming: n samples in the block, x the block less the centre, r the responsibilities, y whitened.
"""

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel
from fastmotion.em.kernels.layout import HEAD
from fastmotion.em.kernels.scalar import exp_of_negative

# What a row of a block takes: the compiler must know its length to make the most of the loops, and
# it should be the same number of vector registers for either dtype.
_ROW_BITS = 8192
BLOCK = _ROW_BITS // 64  # numbers of float64

_HALF = np.float32(0.5)  # exact in either dtype


@cpu_function
def block_size(rows):
    """Return how many numbers of the dtype of an array a row has: a constant to the compiler."""
    return _ROW_BITS // np.finfo(rows.dtype).bits


@cpu_function
def load_block(X, start, n, centre, x):
    """Copy samples, less the centre, into the rows of x; what is beyond them is 0."""
    block = block_size(x)
    for j in range(X.shape[1]):
        c = centre[j]
        row = x[j]
        for b in range(n):
            row[b] = X[start + b, j] - c
        for b in range(n, block):
            row[b] = 0


@cpu_function
def _add_two_rows(y0, y1, x0, x1, x2, x3, a0, a1, a2, a3, b0, b1, b2, b3):
    block = block_size(x0)
    for b in range(block):
        u0 = x0[b]
        u1 = x1[b]
        u2 = x2[b]
        u3 = x3[b]
        y0[b] += a0 * u0 + a1 * u1 + a2 * u2 + a3 * u3
        y1[b] += b0 * u0 + b1 * u1 + b2 * u2 + b3 * u3


@cpu_function
def _subtract_half_squares(q, y0, y1):
    block = block_size(q)
    for b in range(block):
        q[b] -= _HALF * (y0[b] * y0[b] + y1[b] * y1[b])


@cpu_function
def _whiten_two_rows(factor, i, x, y0, y1):
    """Set y0, y1 to the rows i, i + 1 of a lower triangular matrix times the block."""
    block = block_size(x)
    for b in range(block):
        y0[b] = 0
        y1[b] = 0
    a = factor[i]
    c = factor[i + 1]
    for j in range(0, i + 2, 4):
        _add_two_rows(
            y0, y1, x[j], x[j + 1], x[j + 2], x[j + 3],
            a[j], a[j + 1], a[j + 2], a[j + 3], c[j], c[j + 1], c[j + 2], c[j + 3],
        )  # fmt: skip


@cpu_function
def densities_full(x, means, factors, constants, n_features, d, y, log_p):
    """Set the rows of log_p to the log densities under components of any covariance."""
    block = block_size(x)
    for k in range(constants.shape[0]):
        for j in range(n_features):
            m = means[k, j]
            row = x[j]
            difference = d[j]
            for b in range(block):
                difference[b] = row[b] - m
        q = log_p[k]
        c = constants[k]
        for b in range(block):
            q[b] = c
        for i in range(0, n_features, 2):
            _whiten_two_rows(factors[k], i, d, y[0], y[1])
            _subtract_half_squares(q, y[0], y[1])


@cpu_function
def _subtract_four_squares(q, x, s, m):
    """Subtract half the squares of four rows of x, scaled by s and shifted by m."""
    s0, s1, s2, s3 = s[0], s[1], s[2], s[3]
    m0, m1, m2, m3 = m[0], m[1], m[2], m[3]
    for b in range(block_size(q)):
        z0, z1 = x[0, b] * s0 - m0, x[1, b] * s1 - m1
        z2, z3 = x[2, b] * s2 - m2, x[3, b] * s3 - m3
        q[b] -= _HALF * (z0 * z0 + z1 * z1 + z2 * z2 + z3 * z3)


@cpu_function
def _subtract_eight_squares(q, x, s, m):
    s0, s1, s2, s3, s4, s5, s6, s7 = s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
    m0, m1, m2, m3, m4, m5, m6, m7 = m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7]
    for b in range(block_size(q)):
        z0, z1 = x[0, b] * s0 - m0, x[1, b] * s1 - m1
        z2, z3 = x[2, b] * s2 - m2, x[3, b] * s3 - m3
        z4, z5 = x[4, b] * s4 - m4, x[5, b] * s5 - m5
        z6, z7 = x[6, b] * s6 - m6, x[7, b] * s7 - m7
        low = z0 * z0 + z1 * z1 + z2 * z2 + z3 * z3
        high = z4 * z4 + z5 * z5 + z6 * z6 + z7 * z7
        q[b] -= _HALF * (low + high)


@cpu_function
def densities_diag(x, scaled_means, inverse_deviations, constants, n_features, log_p):
    """Set the rows of log_p to the log densities under components of independent features."""
    block = block_size(x)
    for k in range(constants.shape[0]):
        q = log_p[k]
        c = constants[k]
        m = scaled_means[k]
        s = inverse_deviations[k]
        for b in range(block):
            q[b] = c
        j = 0
        while n_features - j > 4:
            _subtract_eight_squares(q, x[j : j + 8], s[j : j + 8], m[j : j + 8])
            j += 8
        if n_features > j:
            _subtract_four_squares(q, x[j : j + 4], s[j : j + 4], m[j : j + 4])


@cpu_function
def normalise_block(log_p, n_components, n, top, total):
    """Turn log densities, in place, into responsibilities; total becomes log of their sum.

    Beyond the n samples responsibilities are 0. A sample of no density at all belongs to nobody.
    """
    block = block_size(log_p)
    for b in range(block):
        top[b] = log_p[0, b]
    for k in range(1, n_components):
        q = log_p[k]
        for b in range(block):
            top[b] = max(top[b], q[b])
    for b in range(block):
        total[b] = 0
        if top[b] == -np.inf:
            top[b] = 0
    for k in range(n_components):
        q = log_p[k]
        for b in range(block):
            p = exp_of_negative(np.float64(q[b]) - top[b])
            q[b] = p
            total[b] += p
    for b in range(block):
        share = 1 / total[b] if total[b] > 0 else 0.0
        top[b] += np.log(total[b])
        total[b] = share if b < n else 0.0
    for k in range(n_components):
        q = log_p[k]
        for b in range(block):
            q[b] *= total[b]
    for b in range(block):
        total[b] = top[b]


@cpu_function(fastmath="reassociate")
def _scale_and_sum(row, r, m, d, rd):
    block = block_size(row)
    total = row.dtype.type(0)
    for b in range(block):
        v = row[b] - m
        rv = r[b] * v
        d[b] = v
        rd[b] = rv
        total += rv
    return total


@cpu_function(fastmath="reassociate")
def _sum(r):
    block = block_size(r)
    total = r.dtype.type(0)
    for b in range(block):
        total += r[b]
    return total


@cpu_function(fastmath="reassociate")
def _dots(r0, r1, x0, x1, x2, x3):
    block = block_size(x0)
    s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = r0.dtype.type(0)
    for b in range(block):
        p = r0[b]
        q = r1[b]
        u0 = x0[b]
        u1 = x1[b]
        u2 = x2[b]
        u3 = x3[b]
        s0 += p * u0
        s1 += p * u1
        s2 += p * u2
        s3 += p * u3
        t0 += q * u0
        t1 += q * u1
        t2 += q * u2
        t3 += q * u3
    return s0, s1, s2, s3, t0, t1, t2, t3


@cpu_function
def _add_products(sums, i, r0, r1, x, n):
    """Add the products of two rows with the first n rows of x to the rows i, i + 1 of sums."""
    for j in range(0, n, 4):
        dots = _dots(r0, r1, x[j], x[j + 1], x[j + 2], x[j + 3])
        sums[i, j] += dots[0]
        sums[i, j + 1] += dots[1]
        sums[i, j + 2] += dots[2]
        sums[i, j + 3] += dots[3]
        sums[i + 1, j] += dots[4]
        sums[i + 1, j + 1] += dots[5]
        sums[i + 1, j + 2] += dots[6]
        sums[i + 1, j + 3] += dots[7]


@cpu_function
def moments_full(x, r, means, n_features, d, rd, counts, first, second):
    """Add the weighted moments of a block about the means: second in its lower triangles."""
    for k in range(means.shape[0]):
        counts[k] += _sum(r[k])
        for j in range(n_features):
            first[k, j] += _scale_and_sum(x[j], r[k], means[k, j], d[j], rd[j])
        square = second[k]
        for i in range(0, n_features, 2):
            _add_products(square, i, rd[i], rd[i + 1], d, i + 2)


@cpu_function
def moments_diag(x, r, n_components, n_features, squares, counts, first, second):
    """Add the weighted moments of a block about the centre: second of single features."""
    block = block_size(x)
    for j in range(n_features):
        row = x[j]
        square = squares[j]
        for b in range(block):
            square[b] = row[b] * row[b]
    for k in range(0, n_components, 2):
        counts[k] += _sum(r[k])
        counts[k + 1] += _sum(r[k + 1])
        _add_products(first, k, r[k], r[k + 1], x, n_features)
        _add_products(second, k, r[k], r[k + 1], squares, n_features)


@cpu_function
def split_sums(sums, n_components, width):
    """Return counts, first and second moments, of which the sums are one row of numbers."""
    n_padded = n_components + n_components % 2
    first = HEAD + n_padded
    second = first + n_padded * width
    return sums[HEAD:first], sums[first:second].reshape((n_padded, width)), sums[second:]


@cpu_function
def _weigh_block(r, sample_weight, start, n):
    for k in range(r.shape[0]):
        row = r[k]
        for b in range(n):
            row[b] *= sample_weight[start + b]


@cpu_function
def _weighted_sum(values, sample_weight, start, n):
    total = 0.0
    for b in range(n):
        total += values[b] * sample_weight[start + b]
    return total


@cpu_function
def _load_responsibilities(responsibilities, start, n, r):
    block = block_size(r)
    for k in range(responsibilities.shape[1]):
        row = r[k]
        for b in range(n):
            row[b] = responsibilities[start + b, k]
        for b in range(n, block):
            row[b] = 0


@cpu_function
def _store_densities(log_p, start, n, out):
    for b in range(n):
        for k in range(out.shape[1]):
            out[start + b, k] = log_p[k, b]


@cpu_kernel(fastmath="contract")
def statistics_full(X, sample_weight, centre, means, factors, constants, sums):
    """Add the expected moments of samples, and their weighted log-likelihood, to the sums.

    Parameters
    ----------
    X : array of shape (n, n_features)
    sample_weight : float64 array of shape (n,)
    centre : float64 array of shape (n_features,)
    means : array of shape (n_components, padded features)
        Less the centre; their dtype is that of the work.
    factors : array of shape (n_components, padded features, padded features)
        Lower triangular: they whiten.
    constants : array of shape (n_components,)
        What the log density is at the mean, with the weight's logarithm.
    sums : float64 array
        As `fastmotion.em.kernels.layout` has them, about the means; added to. Of the matrices the
        lower triangles are set.
    """
    block = block_size(means)
    n_samples, n_features = X.shape
    n_components, width = means.shape
    counts, first, rest = split_sums(sums, n_components, width)
    second = rest.reshape((n_components, width, width))
    x = np.zeros((width, block), means.dtype)
    d = np.zeros((width, block), means.dtype)
    rd = np.zeros((width, block), means.dtype)
    y = np.zeros((2, block), means.dtype)
    log_p = np.zeros((counts.shape[0], block), means.dtype)
    top = np.zeros(block)
    total = np.zeros(block)
    log_likelihood = 0.0
    for start in range(0, n_samples, block):
        n = min(block, n_samples - start)
        load_block(X, start, n, centre, x)
        densities_full(x, means, factors, constants, n_features, d, y, log_p)
        normalise_block(log_p, n_components, n, top, total)
        log_likelihood += _weighted_sum(total, sample_weight, start, n)
        _weigh_block(log_p, sample_weight, start, n)
        moments_full(x, log_p, means, n_features, d, rd, counts, first, second)
    sums[0] += log_likelihood


@cpu_kernel(fastmath="contract")
def statistics_diag(X, sample_weight, centre, scaled_means, inverse_deviations, constants, sums):
    """Add the expected moments of samples, and their weighted log-likelihood, to the sums.

    As `statistics_full`, for independent features: ``scaled_means`` and ``inverse_deviations`` are
    of shape (n_components, padded features), and the sums, second moments of which are those of
    single features, are about the centre.
    """
    block = block_size(scaled_means)
    n_samples, n_features = X.shape
    n_components, width = scaled_means.shape
    counts, first, rest = split_sums(sums, n_components, width)
    second = rest.reshape(first.shape)
    x = np.zeros((width, block), scaled_means.dtype)
    squares = np.zeros((width, block), scaled_means.dtype)
    log_p = np.zeros((counts.shape[0], block), scaled_means.dtype)
    top = np.zeros(block)
    total = np.zeros(block)
    log_likelihood = 0.0
    for start in range(0, n_samples, block):
        n = min(block, n_samples - start)
        load_block(X, start, n, centre, x)
        densities_diag(x, scaled_means, inverse_deviations, constants, n_features, log_p)
        normalise_block(log_p, n_components, n, top, total)
        log_likelihood += _weighted_sum(total, sample_weight, start, n)
        _weigh_block(log_p, sample_weight, start, n)
        moments_diag(x, log_p, n_components, n_features, squares, counts, first, second)
    sums[0] += log_likelihood


@cpu_kernel(fastmath="contract")
def log_densities_full(X, centre, means, factors, constants, out):
    """Set out, of shape (n, n_components), to log densities; parameters as `statistics_full`."""
    block = block_size(means)
    n_samples, n_features = X.shape
    n_components, width = means.shape
    x = np.zeros((width, block), means.dtype)
    d = np.zeros((width, block), means.dtype)
    y = np.zeros((2, block), means.dtype)
    log_p = np.zeros((n_components, block), means.dtype)
    for start in range(0, n_samples, block):
        n = min(block, n_samples - start)
        load_block(X, start, n, centre, x)
        densities_full(x, means, factors, constants, n_features, d, y, log_p)
        _store_densities(log_p, start, n, out)


@cpu_kernel(fastmath="contract")
def log_densities_diag(X, centre, scaled_means, inverse_deviations, constants, out):
    """Set out, of shape (n, n_components), to log densities; parameters as `statistics_diag`."""
    block = block_size(scaled_means)
    n_samples, n_features = X.shape
    n_components, width = scaled_means.shape
    x = np.zeros((width, block), scaled_means.dtype)
    log_p = np.zeros((n_components, block), scaled_means.dtype)
    for start in range(0, n_samples, block):
        n = min(block, n_samples - start)
        load_block(X, start, n, centre, x)
        densities_diag(x, scaled_means, inverse_deviations, constants, n_features, log_p)
        _store_densities(log_p, start, n, out)


@cpu_kernel(fastmath="contract")
def add_moments_full(X, responsibilities, centre, means, sums):
    """Add the moments of samples with given responsibilities; sums as of `statistics_full`."""
    block = block_size(means)
    n_samples, n_features = X.shape
    n_components, width = means.shape
    counts, first, rest = split_sums(sums, n_components, width)
    second = rest.reshape((n_components, width, width))
    x = np.zeros((width, block), means.dtype)
    d = np.zeros((width, block), means.dtype)
    rd = np.zeros((width, block), means.dtype)
    r = np.zeros((counts.shape[0], block), means.dtype)
    for start in range(0, n_samples, block):
        n = min(block, n_samples - start)
        load_block(X, start, n, centre, x)
        _load_responsibilities(responsibilities, start, n, r)
        moments_full(x, r, means, n_features, d, rd, counts, first, second)


@cpu_kernel(fastmath="contract")
def add_moments_diag(X, responsibilities, centre, scaled_means, sums):
    """Add the moments of samples with given responsibilities; sums as of `statistics_diag`."""
    block = block_size(scaled_means)
    n_samples, n_features = X.shape
    n_components, width = scaled_means.shape
    counts, first, rest = split_sums(sums, n_components, width)
    second = rest.reshape(first.shape)
    x = np.zeros((width, block), scaled_means.dtype)
    squares = np.zeros((width, block), scaled_means.dtype)
    r = np.zeros((counts.shape[0], block), scaled_means.dtype)
    for start in range(0, n_samples, block):
        n = min(block, n_samples - start)
        load_block(X, start, n, centre, x)
        _load_responsibilities(responsibilities, start, n, r)
        moments_diag(x, r, n_components, n_features, squares, counts, first, second)


@cpu_kernel(fastmath="contract")
def normalise_rows(log_p, log_norm):
    """Turn the rows of log densities, in place, into responsibilities.

    ``log_norm``, float64 of shape (n,), becomes the logarithm of the rows' sums; a row of no
    density at all becomes 0.
    """
    n_samples, n_components = log_p.shape
    for i in range(n_samples):
        row = log_p[i]
        top = -np.inf
        for k in range(n_components):
            top = max(top, np.float64(row[k]))
        if top == -np.inf:
            log_norm[i] = top
            for k in range(n_components):
                row[k] = 0
            continue
        total = 0.0
        for k in range(n_components):
            p = exp_of_negative(np.float64(row[k]) - top)
            row[k] = p
            total += p
        share = 1 / total
        for k in range(n_components):
            row[k] *= share
        log_norm[i] = top + np.log(total)
