"""Fundamental matrices of random samples, and how well models explain the matches.

Matches are rows of coordinates that the caller has centred in each image and divided by one scale
for both, so that Sampson distances scale with it.
"""

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel
from fastmotion.epipolar.kernels import planar
from fastmotion.epipolar.kernels.keeping import keep
from fastmotion.epipolar.kernels.minimal import (
    LANES,
    draw_samples,
    keep_possible,
    load_samples,
    models_of_samples,
    set_unit,
)
from fastmotion.epipolar.kernels.parallax import set_epipole_models
from fastmotion.epipolar.kernels.polish import polish
from fastmotion.epipolar.kernels.ranks import least_of_rank
from fastmotion.epipolar.kernels.refinement import refine_all
from fastmotion.epipolar.kernels.scalar import (
    FIRST_TEST,
    is_hopeless,
    match_gain,
    squared_sampson,
)

__all__ = [
    "least_median",
    "planar",
    "polish",
    "refine_all",
    "sample_models",
    "score",
    "score_epipoles",
    "search",
    "squared_distances",
]

# Matches that are scored at a time; arrays of scored matches are padded to a multiple of it.
BLOCK = 64

_ZERO = np.float32(0)


@cpu_function(fastmath="reassociate")
def _gain_of_block(f, points, start, inverse_threshold):
    x1 = points[0, start : start + BLOCK]
    y1 = points[1, start : start + BLOCK]
    x2 = points[2, start : start + BLOCK]
    y2 = points[3, start : start + BLOCK]
    f0, f1, f2, f3, f4, f5, f6, f7, f8 = f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8]
    gain = _ZERO
    for i in range(BLOCK):
        gain += match_gain(
            f0, f1, f2, f3, f4, f5, f6, f7, f8, x1[i], y1[i], x2[i], y2[i], inverse_threshold
        )
    return gain


@cpu_function(fastmath=None)
def _gain(f, points, n, inverse_threshold, bound):
    """Return the summed gain of a model, or of the first matches where it is hopeless."""
    gain = 0.0
    next_test = FIRST_TEST
    for start in range(0, n, BLOCK):
        gain += _gain_of_block(f, points, start, inverse_threshold)
        if start + BLOCK == next_test:
            if is_hopeless(gain, bound / n * next_test):
                return gain
            next_test *= 2
    return gain


@cpu_function
def _new_scratch(size):
    """Return the scratch of a block of samples, as `minimal` names it."""
    return (
        np.empty((8, LANES), np.uint64),
        np.empty((size, LANES), np.int64),
        np.empty((size, 4, LANES)),
        np.empty((size, 9, LANES)),
        np.empty((2, 9, LANES)),
        np.empty((11, LANES)),
        np.empty(LANES, np.uint64),
        np.empty(9, np.int64),
        np.empty((3, 9, LANES)),
        np.empty(LANES, np.bool_),
    )


@cpu_function
def _draw_models(seed, first_trial, pools, matches, oriented, scratch, drawn):
    """Set the first rows of drawn to models of random samples, of unit norm; return how many."""
    words, indices, samples, equations, basis, parts, bits, columns, models, is_possible = scratch
    draw_samples(seed, first_trial, pools, len(matches), words, indices)
    load_samples(matches, indices, samples)
    models_of_samples(samples, equations, basis, parts, bits, columns, models)
    n_drawn = 0
    for k in range(3 if len(indices) == 7 else 1):
        keep_possible(models[k], samples, oriented, parts, is_possible)
        for lane in range(len(pools)):
            if is_possible[lane]:
                set_unit(models[k, :, lane], drawn[n_drawn])
                n_drawn += 1
    return n_drawn


@cpu_kernel
def search(
    seed, first_trial, pools, size, matches, oriented, points, n, inverse_threshold, models, gains
):
    """Try the fundamental matrices of random samples and keep the models of most gain.

    The gain of a match is max(0, 1 − d²/threshold²) (MSAC: Torr and Zisserman 2000, "MLESAC",
    equation 9, less what a wrong match costs). A trial depends on seed and number alone.

    Parameters
    ----------
    seed : uint64
    first_trial : int64
    pools : int64 array of shape (n_trials,)
        From how many of the first matches each trial draws. One that draws from less than all
        draws the last of its pool (PROSAC).
    size : int64
        7 or 8 matches to a sample.
    matches : float64 array of shape (n_matches, 4)
    oriented : bool
        Whether models that cameras cannot have seen are refused.
    points : float32 array of shape (4, n_padded)
        x1 y1 x2 y2 of the matches that are scored, in random order; `BLOCK` divides n_padded, and
        padding is NaN.
    n : int64
        How many are scored.
    inverse_threshold : float32
        1 / threshold².
    models : float64 array of shape (n_kept, 9)
    gains : float64 array of shape (n_kept,)
        Summed over the matches scored. A model is kept if it has more than is there.
    """
    scratch = _new_scratch(size)
    drawn = np.empty((3 * LANES, 9))
    single = np.empty(9, np.float32)
    last = len(gains) - 1
    for first in range(0, len(pools), LANES):
        block = pools[first : first + LANES]
        n_drawn = _draw_models(seed, first_trial + first, block, matches, oriented, scratch, drawn)
        for k in range(n_drawn):
            for c in range(9):
                single[c] = drawn[k, c]
            gain = _gain(single, points, n, inverse_threshold, gains[last])
            if gain > gains[last]:
                keep(drawn[k], gain, models, gains)


@cpu_kernel
def sample_models(seed, first_trial, pools, size, matches, oriented, models):
    """Set models to those of random samples, and return how many there are.

    The arguments are those of `search`; models of shape (3 n_trials, 9) holds them all.
    """
    scratch = _new_scratch(size)
    drawn = np.empty((3 * LANES, 9))
    n_models = 0
    for first in range(0, len(pools), LANES):
        block = pools[first : first + LANES]
        n_drawn = _draw_models(seed, first_trial + first, block, matches, oriented, scratch, drawn)
        for k in range(n_drawn):
            for c in range(9):
                models[n_models, c] = drawn[k, c]
            n_models += 1
    return n_models


@cpu_kernel
def score(models, points, n, inverse_threshold, gains):
    """Set the summed gains of models of shape (n_models, 9); the rest is as for `search`.

    Those that cannot come near half of the best one before them get less than is theirs.
    """
    single = np.empty(9, np.float32)
    best = 0.0
    for k in range(len(models)):
        for c in range(9):
            single[c] = models[k, c]
        gains[k] = _gain(single, points, n, inverse_threshold, 0.5 * best)
        best = max(best, gains[k])


def score_epipoles(matches, h, pairs, epipoles, points, n, inverse_threshold, gains):
    """Set the epipoles of pairs of matches, and the summed gains of the models of all epipoles.

    The first four arguments are those of `set_epipole_models`, the others those of `score`.
    """
    models = np.empty((len(epipoles), 9))
    set_epipole_models(matches, h, pairs, epipoles, models)
    score(models, points, n, inverse_threshold, gains)


@cpu_kernel
def squared_distances(model, matches, squares):
    """Set the squared Sampson distances of matches, of shape (n, 4).

    At both epipoles they are 0, or infinite where a residual is left.
    """
    f0, f1, f2, f3, f4 = model[0], model[1], model[2], model[3], model[4]
    f5, f6, f7, f8 = model[5], model[6], model[7], model[8]
    for i in range(len(matches)):
        squares[i] = squared_sampson(
            f0, f1, f2, f3, f4, f5, f6, f7, f8,
            matches[i, 0], matches[i, 1], matches[i, 2], matches[i, 3],
        )  # fmt: skip


def least_median(models, matches, rank):
    """Return the least of the models' squared distances of a rank, and which model has it.

    Parameters
    ----------
    models : float64 array of shape (n_models, 9)
    matches : float64 array of shape (n, 4)
    rank : int
        Counted from 0.

    Returns
    -------
    least : float
        Infinity if there is no finite one.
    which : int
    """
    squares = np.empty(len(matches))

    def squares_of(model):
        squared_distances(model, matches, squares)
        return squares

    return least_of_rank(squares_of, models, rank)
