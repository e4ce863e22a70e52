"""Fundamental matrices of minimal samples: seven or eight matches, several samples at a time.

Arrays of a block have the samples along their last axis, `LANES` of them on the CPU, so that one
instruction serves several samples; a thread of a CUDA device has one. Where a pivot vanishes, as in
exact data whose columns depend on each other, a sample is solved alone with complete pivoting.
"""

import math

import numpy as np

from fastmotion.core.compile import cpu_function, scalar
from fastmotion.core.random import philox
from fastmotion.epipolar.kernels.scalar import cofactors

LANES = 32

# Which entry of F the columns of the equations belong to: pivots that cannot be small as long as
# matches are spread over both images come first. The last one or two columns stay free.
_ORDER = np.array([8, 6, 7, 2, 5, 0, 1, 3, 4])

# Coordinates are about 1, so this is relative to them.
_SMALL_PIVOT = 1e-9

# Squared length of an epipole whose columns are parallel, relative to the fourth power of the norm.
_PARALLEL = 1e-20

# From beyond the root by at most a factor of two; the convergence is quadratic.
_NEWTON_STEPS = 9
_THIRD = 1.0 / 3.0
# Of an angle that no data know of.
_COSINE, _SINE = math.cos(0.6180), math.sin(0.6180)

# The upper half of a float64's bits, divided by three, plus two thirds of the exponent's bias.
_THIRD_OF_2_32 = np.uint64(0x55555556)
_CUBE_ROOT_BIAS = np.uint64(715094163)

_SHIFT_32 = np.uint64(32)
_LOW_32 = np.uint64(0xFFFFFFFF)


@cpu_function
def _draw_words(seed, first_trial, words):
    for half in range(2):
        w = words[4 * half : 4 * half + 4]
        for lane in range(words.shape[1]):
            trial = np.uint64(first_trial) + np.uint64(lane)
            w0, w1, w2, w3 = philox(
                trial & _LOW_32, trial >> _SHIFT_32, np.uint64(half), np.uint64(0),
                seed & _LOW_32, seed >> _SHIFT_32,
            )  # fmt: skip
            w[0, lane] = w0
            w[1, lane] = w1
            w[2, lane] = w2
            w[3, lane] = w3


@cpu_function
def draw_samples(seed, first_trial, pools, n_matches, words, indices):
    """Draw different matches for each lane, uniformly out of the first ``pools[lane]``.

    A pool smaller than all matches is one whose last match must be drawn. Lanes beyond the pools
    draw as the last one does. ``words`` is scratch, eight to a lane.
    """
    size = len(indices)
    _draw_words(seed, first_trial, words)
    for lane in range(indices.shape[1]):
        pool = pools[min(lane, len(pools) - 1)]
        n_drawn = size
        if pool < n_matches:
            pool -= 1
            n_drawn -= 1
            indices[n_drawn, lane] = pool
        for k in range(n_drawn):
            index = np.int64((words[k, lane] * np.uint64(pool - k)) >> _SHIFT_32)
            # The index-th of those not drawn before: they stand sorted in front.
            place = 0
            while place < k and index >= indices[place, lane]:
                index += 1
                place += 1
            for later in range(k, place, -1):
                indices[later, lane] = indices[later - 1, lane]
            indices[place, lane] = index


@cpu_function
def load_samples(matches, indices, samples):
    """Copy the sampled matches, lanes last."""
    for k in range(len(indices)):
        for c in range(4):
            row = samples[k, c]
            for lane in range(indices.shape[1]):
                row[lane] = matches[indices[k, lane], c]


@cpu_function
def _set_equations(samples, a):
    """Write down one row for each match, the products of its coordinates in order."""
    for k in range(len(samples)):
        x1, y1, x2, y2 = samples[k, 0], samples[k, 1], samples[k, 2], samples[k, 3]
        rows = a[k]
        for lane in range(rows.shape[1]):
            rows[0, lane] = 1.0
            rows[1, lane] = x1[lane]
            rows[2, lane] = y1[lane]
            rows[3, lane] = x2[lane]
            rows[4, lane] = y2[lane]
            rows[5, lane] = x2[lane] * x1[lane]
            rows[6, lane] = x2[lane] * y1[lane]
            rows[7, lane] = y2[lane] * x1[lane]
            rows[8, lane] = y2[lane] * y1[lane]


@cpu_function
def _subtract_row(rows, pivot_rows, k, first, factor):
    """Clear column k of one match's equation by another's, from a column on."""
    for lane in range(rows.shape[1]):
        factor[lane] = rows[k, lane]
    for c in range(first, 9):
        for lane in range(rows.shape[1]):
            rows[c, lane] -= factor[lane] * pivot_rows[c, lane]


@cpu_function
def _scale_row(rows, k, factor, smallest):
    for lane in range(rows.shape[1]):
        smallest[lane] = min(smallest[lane], abs(rows[k, lane]))
        factor[lane] = 1.0 / rows[k, lane]
    for c in range(k + 1, 9):
        for lane in range(rows.shape[1]):
            rows[c, lane] *= factor[lane]


@cpu_function
def _eliminate(a, factor, smallest):
    """Reduce the equations to the identity in front; ``smallest`` gets each lane's least pivot."""
    size = len(a)
    for lane in range(len(smallest)):
        smallest[lane] = 1.0
    for k in range(size):
        _scale_row(a[k], k, factor, smallest)
        for r in range(k + 1, size):
            _subtract_row(a[r], a[k], k, k + 1, factor)
    for k in range(size - 1, 0, -1):
        for r in range(k):
            _subtract_row(a[r], a[k], k, size, factor)


@cpu_function
def _read_null_vectors(a, basis):
    """Read the matrices that obey the equations off the reduced ones, in the order of F."""
    size = len(a)
    for free in range(9 - size):
        for c in range(9):
            row = basis[free, _ORDER[c]]
            if c < size:
                for lane in range(len(row)):
                    row[lane] = -a[c, size + free, lane]
            else:
                value = 1.0 if c == size + free else 0.0
                for lane in range(len(row)):
                    row[lane] = value


@cpu_function
def _find_pivot(a, k):
    best, row, column = -1.0, k, k
    for r in range(k, a.shape[0]):
        for c in range(k, 9):
            if abs(a[r, c]) > best:
                best, row, column = abs(a[r, c]), r, c
    return best, row, column


@cpu_function
def _eliminate_alone(a, columns):
    """Reduce one sample's equations with complete pivoting; ``columns`` tells what went where.

    Where matches depend on each other, equations are fewer than they: what is left stays free.
    """
    size = a.shape[0]
    for k in range(size):
        best, row, column = _find_pivot(a, k)
        if best <= _SMALL_PIVOT:
            break
        for c in range(9):
            a[k, c], a[row, c] = a[row, c], a[k, c]
        for r in range(size):
            a[r, k], a[r, column] = a[r, column], a[r, k]
        columns[k], columns[column] = columns[column], columns[k]
        for c in range(8, k - 1, -1):
            a[k, c] /= a[k, k]
        for r in range(size):
            if r != k:
                for c in range(8, k - 1, -1):
                    a[r, c] -= a[r, k] * a[k, c]


@cpu_function
def _solve_alone(samples, lane, a, columns, basis):
    """Set the null vectors of one lane whose pivots, taken in order, nearly vanish.

    ``a`` and ``columns`` are scratch, for the equations and for what stands in their columns.
    """
    size = len(samples)
    for c in range(9):
        columns[c] = _ORDER[c]
    for k in range(size):
        for c in range(9):
            left = 1.0 if columns[c] >= 6 else samples[k, 2 + columns[c] // 3, lane]
            right = 1.0 if columns[c] % 3 == 2 else samples[k, columns[c] % 3, lane]
            a[k, c] = left * right
    _eliminate_alone(a, columns)
    for free in range(9 - size):
        for c in range(size):
            basis[free, columns[c], lane] = -a[c, size + free]
        for c in range(size, 9):
            basis[free, columns[c], lane] = 1.0 if c == size + free else 0.0


@cpu_function
def _turn(basis):
    """Take two other matrices of the pencil: in exact data one of those read off may be F itself.

    As the first one it would be a root at infinity.
    """
    for c in range(9):
        for lane in range(basis.shape[2]):
            f = basis[0, c, lane]
            g = basis[1, c, lane]
            basis[0, c, lane] = _COSINE * f + _SINE * g
            basis[1, c, lane] = _COSINE * g - _SINE * f


@cpu_function
def _determinant_along(f, g, out):
    """Set det f, and its derivative in the direction of g, as two coefficients of a cubic."""
    for lane in range(out.shape[1]):
        c0, c1, c2, c3, c4, c5, c6, c7, c8 = cofactors(
            f[0, lane], f[1, lane], f[2, lane], f[3, lane], f[4, lane], f[5, lane],
            f[6, lane], f[7, lane], f[8, lane],
        )  # fmt: skip
        out[0, lane] = f[0, lane] * c0 + f[1, lane] * c1 + f[2, lane] * c2
        out[1, lane] = (
            g[0, lane] * c0 + g[1, lane] * c1 + g[2, lane] * c2
            + g[3, lane] * c3 + g[4, lane] * c4 + g[5, lane] * c5
            + g[6, lane] * c6 + g[7, lane] * c7 + g[8, lane] * c8
        )  # fmt: skip


@cpu_function
def _depress(c, t):
    """Set t to shift, p, q and |q| of x³ + p x + q, the cubic c3 z³ + … + c0 at z = x − shift."""
    for lane in range(t.shape[1]):
        a = c[2, lane] / c[3, lane]
        b = c[1, lane] / c[3, lane]
        t[0, lane] = a * _THIRD
        t[1, lane] = b - a * a * _THIRD
        t[2, lane] = a * (a * a * (2.0 / 27.0) - b * _THIRD) + c[0, lane] / c[3, lane]
        t[3, lane] = abs(t[2, lane])


@cpu_function
def _near_cube_roots(words, roots):
    """Set the bits of cube roots, right within six per cent, from those of positive numbers."""
    for lane in range(len(roots)):
        third = ((words[lane] >> _SHIFT_32) * _THIRD_OF_2_32) >> _SHIFT_32
        roots[lane] = (third + _CUBE_ROOT_BIAS) << _SHIFT_32


@cpu_function
def _cubic_roots(c, t, bits, roots):
    """Set ``roots`` to the real roots of c3 z³ + c2 z² + c1 z + c0, NaN where there are fewer.

    The outermost root comes by Newton's method from beyond it, where it converges from one side,
    the other two from the quadratic that it leaves. ``t`` and ``bits`` are scratch, four numbers
    and one unsigned integer to a lane.
    """
    _depress(c, t)
    _near_cube_roots(t[3].view(np.uint64), bits)
    cube_roots = bits.view(np.float64)
    x = roots[0]
    for lane in range(len(x)):
        x[lane] = 1.06 * cube_roots[lane] + math.sqrt(max(-t[1, lane], 0.0))
    for _ in range(_NEWTON_STEPS):
        for lane in range(len(x)):
            # x³ + p x − |q|, whose largest root is plus or minus the outermost of x³ + p x + q.
            square = x[lane] * x[lane]
            x[lane] -= (x[lane] * (square + t[1, lane]) - t[3, lane]) / (3.0 * square + t[1, lane])
    for lane in range(len(x)):
        outermost = math.copysign(roots[0, lane], -t[2, lane])
        square = -3.0 * outermost * outermost - 4.0 * t[1, lane]
        width = 0.5 * math.sqrt(max(square, 0.0)) if square >= 0.0 else np.nan
        roots[0, lane] = outermost - t[0, lane]
        roots[1, lane] = -0.5 * outermost + width - t[0, lane]
        roots[2, lane] = -0.5 * outermost - width - t[0, lane]


@cpu_function
def _lead_by_larger(cubic, basis):
    """Swap the matrices of the pencil where that makes the cubic's leading coefficient larger.

    A small one makes one root large, and rounding of that would be an error of the others.
    """
    for lane in range(cubic.shape[1]):
        if abs(cubic[0, lane]) > abs(cubic[3, lane]):
            for k in range(2):
                cubic[k, lane], cubic[3 - k, lane] = cubic[3 - k, lane], cubic[k, lane]
            for c in range(9):
                basis[0, c, lane], basis[1, c, lane] = basis[1, c, lane], basis[0, c, lane]


@cpu_function
def _combine(basis, z, model):
    for c in range(9):
        for lane in range(len(z)):
            model[c, lane] = z[lane] * basis[0, c, lane] + basis[1, c, lane]


@cpu_function
def models_of_samples(samples, a, basis, parts, bits, columns, models):
    """Set the models of each lane: up to three of seven matches, one of eight.

    Those that are missing hold NaN. One of eight matches is not of rank two yet.

    Parameters
    ----------
    samples : float64 array of shape (size, 4, n_lanes)
        With a size of 7 or 8.
    a : float64 array of shape (size, 9, n_lanes)
        This and what follows is scratch.
    basis : float64 array of shape (2, 9, n_lanes)
    parts : float64 array of shape (11, n_lanes)
    bits : uint64 array of shape (n_lanes,)
    columns : int64 array of shape (9,)
    models : float64 array of shape (3, 9, n_lanes)
    """
    size = len(samples)
    n_lanes = samples.shape[2]
    smallest = parts[1]
    _set_equations(samples, a)
    _eliminate(a, parts[0], smallest)
    _read_null_vectors(a, basis if size == 7 else models)
    for lane in range(n_lanes):
        if not smallest[lane] > _SMALL_PIVOT:
            _solve_alone(samples, lane, a[:, :, lane], columns, basis if size == 7 else models)
    if size == 7:
        cubic, falling, roots = parts[0:4], parts[4:6], parts[8:11]
        _turn(basis)
        _determinant_along(basis[1], basis[0], cubic)
        _determinant_along(basis[0], basis[1], falling)
        for lane in range(n_lanes):
            cubic[3, lane] = falling[0, lane]
            cubic[2, lane] = falling[1, lane]
        _lead_by_larger(cubic, basis)
        _cubic_roots(cubic, parts[4:8], bits, roots)
        for k in range(3):
            _combine(basis, roots[k], models[k])


@cpu_function
def keep_possible(model, samples, oriented, parts, is_possible):
    """Mark the lanes that have a model and, if oriented, one that cameras can have seen.

    The matches of such a one lie on the rays of their epipolar lines that face each other: all
    (e₂ × x₂)·(F x₁) have one sign (Chum, Werner and Matas, "Epipolar geometry estimation via RANSAC
    benefits from the oriented epipolar constraint", ICPR 2004). e₂ is the cross product of F's
    first columns; if those are parallel it vanishes and nothing is refused. ``parts`` is scratch,
    at least five numbers to a lane.
    """
    low, high, e0, e1, e2 = parts[0], parts[1], parts[2], parts[3], parts[4]
    n_lanes = len(is_possible)
    for lane in range(n_lanes):
        low[lane] = 0.0
        high[lane] = 0.0
        e0[lane] = model[3, lane] * model[7, lane] - model[6, lane] * model[4, lane]
        e1[lane] = model[6, lane] * model[1, lane] - model[0, lane] * model[7, lane]
        e2[lane] = model[0, lane] * model[4, lane] - model[3, lane] * model[1, lane]
        size = 0.0
        for c in range(9):
            size += model[c, lane] * model[c, lane]
        length = e0[lane] * e0[lane] + e1[lane] * e1[lane] + e2[lane] * e2[lane]
        # What rounding leaves of nothing has no sign.
        scale = 1.0 if length > _PARALLEL * size * size else 0.0
        e0[lane] *= scale
        e1[lane] *= scale
        e2[lane] *= scale
    for k in range(len(samples)):
        x1, y1, x2, y2 = samples[k, 0], samples[k, 1], samples[k, 2], samples[k, 3]
        for lane in range(n_lanes):
            l0 = model[0, lane] * x1[lane] + model[1, lane] * y1[lane] + model[2, lane]
            l1 = model[3, lane] * x1[lane] + model[4, lane] * y1[lane] + model[5, lane]
            l2 = model[6, lane] * x1[lane] + model[7, lane] * y1[lane] + model[8, lane]
            side = (
                (e1[lane] - e2[lane] * y2[lane]) * l0
                + (e2[lane] * x2[lane] - e0[lane]) * l1
                + (e0[lane] * y2[lane] - e1[lane] * x2[lane]) * l2
            )
            low[lane] = min(low[lane], side)
            high[lane] = max(high[lane], side)
    for lane in range(n_lanes):
        is_possible[lane] = _is_finite(model, lane) and not (
            oriented and low[lane] * high[lane] < 0.0
        )


@cpu_function
def _is_finite(model, lane):
    total = 0.0
    for c in range(9):
        total += abs(model[c, lane])
    return 0.0 < total < np.inf


@cpu_function
def set_unit(model, unit):
    """Set unit to a model of nine numbers, divided by its norm."""
    squares = 0.0
    for c in range(9):
        squares += model[c] * model[c]
    for c in range(9):
        unit[c] = model[c] / math.sqrt(squares)


@scalar
def place_of(trial, k, n_models, n_places):
    """Return the place of a trial's k-th model among those of all, in the order of the CPU.

    That is by blocks of `LANES` trials, and in a block first the first model of each trial.
    """
    first = trial // LANES * LANES
    n_lanes = min(n_places // n_models - first, LANES)
    return first * n_models + k * n_lanes + trial - first
