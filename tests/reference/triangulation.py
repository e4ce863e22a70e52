"""Points from matches in naive formulations, one match at a time."""

import numpy as np
from scipy.optimize import minimize_scalar


def foot(point, line):
    """Return the point of a line that is nearest to a point."""
    normal, offset = line[:2], line[2]
    return point - (normal @ point + offset) / (normal @ normal) * normal


def nearest_match(match, F, reach=20.0):
    """Return the match nearest to one that obeys F: the best pair of epipolar lines is searched.

    It is the formulation of Hartley and Sturm with a search along one coordinate, up to `reach`
    pixels away, in place of a polynomial's roots.
    """
    point1, point2 = match[:2], match[2:]
    e1 = np.linalg.svd(F)[2][2]
    towards_epipole = e1[:2] - e1[2] * point1
    across = np.array([-towards_epipole[1], towards_epipole[0]]) / np.linalg.norm(towards_epipole)

    def feet(s):
        other = np.append(point1 + s * across, 1.0)
        return np.concatenate([foot(point1, np.cross(e1, other)), foot(point2, F @ other)])

    def cost(s):
        return ((feet(s) - match) ** 2).sum()

    grid = np.linspace(-reach, reach, 201)
    near = grid[np.argmin([cost(s) for s in grid])]
    step = grid[1] - grid[0]
    best = minimize_scalar(
        cost, bounds=(near - step, near + step), method="bounded", options={"xatol": 1e-10}
    )
    return feet(best.x)


def intersect(match, P1, P2):
    """Return the point of space that a match without error shows, homogeneous and of unit norm."""
    x1, y1, x2, y2 = match
    rows = [x1 * P1[2] - P1[0], y1 * P1[2] - P1[1], x2 * P2[2] - P2[0], y2 * P2[2] - P2[1]]
    return np.linalg.svd([row / np.linalg.norm(row) for row in rows])[2][3]
