"""Homographies by whole-array NumPy and SciPy: slow, and written otherwise than the package."""

import numpy as np
from scipy.linalg import null_space
from scipy.optimize import least_squares


def scene(n, *, inlier_ratio=1.0, noise=0.0, seed=0, H=None):
    """Return matches (n, 4) of a plane in pixels, which are inliers, and H of unit norm."""
    rng = np.random.default_rng(seed)
    if H is None:
        H = np.array([[1.0, 0.05, 20.0], [-0.04, 1.02, -10.0], [1e-4, -5e-5, 1.0]])
    points = rng.uniform([0, 0], [640, 480], (n, 2))
    matches = np.c_[points, transform(H, points)] + noise * rng.standard_normal((n, 4))
    is_inlier = np.zeros(n, bool)
    is_inlier[rng.permutation(n)[: round(n * inlier_ratio)]] = True
    outliers = ~is_inlier
    matches[outliers, 2:] = rng.uniform([0, 0], [640, 480], (outliers.sum(), 2))
    return matches, is_inlier, unit(H)


def unit(H):
    """Return H with unit Frobenius norm and a positive determinant."""
    H = np.asarray(H, float).reshape(3, 3)
    return np.sign(np.linalg.det(H)) * H / np.linalg.norm(H)


def transform(H, points):
    image = np.c_[points, np.ones(len(points))] @ np.reshape(H, (3, 3)).T
    return image[:, :2] / image[:, 2:]


def similarity(points):
    """Return the matrix that takes the centroid to 0 and the mean distance from it to sqrt(2)."""
    centre = points.mean(axis=0)
    scale = np.sqrt(2) / np.linalg.norm(points - centre, axis=1).mean()
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1]])


def equations(matches):
    """Return (n, 2, 9): the cross product of p2 with H p1 without its third element."""
    p1 = np.c_[matches[:, :2], np.ones(len(matches))]
    x2, y2 = matches[:, 2, None], matches[:, 3, None]
    none = np.zeros_like(p1)
    return np.stack([np.c_[none, -p1, y2 * p1], np.c_[p1, none, -x2 * p1]], axis=1)


def direct_linear(matches, weight=None):
    """Return H of least algebraic error in normalised coordinates, from one SVD."""
    weight = np.ones(len(matches)) if weight is None else weight
    T1, T2 = similarity(matches[:, :2]), similarity(matches[:, 2:])
    rows = equations(np.c_[transform(T1, matches[:, :2]), transform(T2, matches[:, 2:])])
    rows = (np.sqrt(weight)[:, None, None] * rows).reshape(-1, 9)
    return unit(np.linalg.inv(T2) @ np.linalg.svd(rows)[2][-1].reshape(3, 3) @ T1)


def sampson(H, matches):
    """Return Sampson distances, J of the algebraic error taken by complex steps."""
    h = np.ravel(H)
    errors = equations(matches) @ h
    J = np.empty((len(matches), 2, 4))
    for k in range(4):
        moved = matches.astype(complex)
        moved[:, k] += 1e-30j
        p1 = np.c_[moved[:, :2], np.ones(len(moved))] @ h.reshape(3, 3).T
        J[:, 0, k] = (moved[:, 3] * p1[:, 2] - p1[:, 1]).imag / 1e-30
        J[:, 1, k] = (p1[:, 0] - moved[:, 2] * p1[:, 2]).imag / 1e-30
    solved = np.linalg.solve(J @ J.transpose(0, 2, 1), errors[..., None])[..., 0]
    return np.sqrt((errors * solved).sum(axis=1))


def distance_to_plane(H, matches):
    """Return the distances of matches to the nearest that obey H, found one by one."""

    def distance(match):
        def residuals(point):
            return np.r_[point, transform(H, point[None])[0]] - match

        return np.sqrt(2 * least_squares(residuals, match[:2]).cost)

    return np.array([distance(match) for match in matches])


def transfer_residuals(parameters, H0, basis, matches):
    """Return the residuals of all coordinates, with every true point a parameter."""
    H = (np.ravel(H0) + basis @ parameters[:8]).reshape(3, 3)
    points = parameters[8:].reshape(-1, 2)
    return np.r_[(points - matches[:, :2]).ravel(), (transform(H, points) - matches[:, 2:]).ravel()]


def maximum_likelihood(H0, matches):
    """Return H and its information by bundle adjustment of H and all points (gold standard)."""
    basis = null_space(np.ravel(H0)[None])
    start = np.r_[np.zeros(8), matches[:, :2].ravel()]
    fit = least_squares(
        transfer_residuals, start, args=(H0, basis, matches), xtol=1e-14, ftol=1e-14, gtol=1e-14,
        x_scale="jac",
    )  # fmt: skip
    return np.ravel(H0) + basis @ fit.x[:8], basis, fit.jac
