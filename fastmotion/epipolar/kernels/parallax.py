"""Fundamental matrices that a plane leaves: one for each epipole.

A match off the plane lies off where the plane's homography H takes it, in the direction of the
epipole e of image 2: the line through both goes through e (plane and parallax). F is then [e]ₓ H.
"""

import math

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel

# Unit vectors whose cross product is shorter have one direction but for rounding.
_PARALLEL = 1e-12
_TINY = 1e-300


@cpu_function
def _set_line(h, match, line):
    """Set the line, a unit vector, through a point of image 2 and where its match would lie."""
    x1, y1, x2, y2 = match[0], match[1], match[2], match[3]
    u = h[0] * x1 + h[1] * y1 + h[2]
    v = h[3] * x1 + h[4] * y1 + h[5]
    w = h[6] * x1 + h[7] * y1 + h[8]
    line[0] = y2 * w - v
    line[1] = u - x2 * w
    line[2] = x2 * v - y2 * u
    length = math.sqrt(line[0] * line[0] + line[1] * line[1] + line[2] * line[2])
    for k in range(3):
        line[k] /= max(length, _TINY)


@cpu_function
def set_epipole(h, first, second, lines, epipole):
    """Set the epipole, a unit vector, at which the lines of two matches meet; NaN if they are one.

    ``lines`` is scratch, of shape (2, 3).
    """
    a, b = lines[0], lines[1]
    _set_line(h, first, a)
    _set_line(h, second, b)
    epipole[0] = a[1] * b[2] - a[2] * b[1]
    epipole[1] = a[2] * b[0] - a[0] * b[2]
    epipole[2] = a[0] * b[1] - a[1] * b[0]
    length = math.sqrt(epipole[0] * epipole[0] + epipole[1] * epipole[1] + epipole[2] * epipole[2])
    for k in range(3):
        epipole[k] = epipole[k] / length if length > _PARALLEL else math.nan


@cpu_function
def set_model_of_epipole(h, epipole, model):
    """Set a model, of unit norm, to [e]ₓ H."""
    x, y, z = epipole[0], epipole[1], epipole[2]
    square = 0.0
    for k in range(3):
        model[k] = y * h[6 + k] - z * h[3 + k]
        model[3 + k] = z * h[k] - x * h[6 + k]
        model[6 + k] = x * h[3 + k] - y * h[k]
        square += model[k] * model[k] + model[3 + k] * model[3 + k] + model[6 + k] * model[6 + k]
    length = max(math.sqrt(square), _TINY)
    for k in range(9):
        model[k] /= length


@cpu_kernel(fastmath="contract")
def set_epipole_models(matches, h, pairs, epipoles, models):
    """Set the epipoles of pairs of matches, and the models of all epipoles.

    Parameters
    ----------
    matches : float64 array of shape (n, 4)
    h : float64 array of shape (9,)
        Of the plane.
    pairs : int64 array of shape (n_pairs, 2)
    epipoles : float64 array of shape (n_epipoles, 3)
        Unit vectors. Those of pairs are the last; NaN where the lines of the matches are one.
    models : float64 array of shape (n_epipoles, 9)
    """
    lines = np.empty((2, 3))
    first = epipoles.shape[0] - pairs.shape[0]
    for k in range(pairs.shape[0]):
        set_epipole(h, matches[pairs[k, 0]], matches[pairs[k, 1]], lines, epipoles[first + k])
    for k in range(epipoles.shape[0]):
        set_model_of_epipole(h, epipoles[k], models[k])
