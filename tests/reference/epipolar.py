"""Two-view geometry spelt out: whole arrays, full decompositions, scipy's optimisers."""

import itertools

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation


def homogeneous(points):
    return np.column_stack([points, np.ones(len(points))])


def residuals(F, matches):
    """Return signed Sampson distances, pixels."""
    x1, x2 = homogeneous(matches[:, :2]), homogeneous(matches[:, 2:])
    lines2, lines1 = x1 @ F.T, x2 @ F
    gradient = np.hypot(
        np.linalg.norm(lines1[:, :2], axis=1), np.linalg.norm(lines2[:, :2], axis=1)
    )
    return np.einsum("ni,ni->n", x2, lines2) / gradient


def sampson(F, matches):
    return np.abs(residuals(F, matches))


def msac_score(F, matches, threshold):
    """Return the mean of 1 − d²/threshold² over matches, none of them below 0."""
    return np.mean(np.maximum(0, 1 - (sampson(F, matches) / threshold) ** 2))


def unit(F):
    """Return F of unit norm, the entry of largest magnitude positive."""
    F = F / np.sqrt((F**2).sum())
    return F if F.ravel()[np.abs(F).argmax()] > 0 else -F


def distance(F, G):
    """Return the angle between two matrices whose signs do not matter, roughly."""
    return min(np.linalg.norm(unit(F) - unit(G)), np.linalg.norm(unit(F) + unit(G)))


def balanced_values(F, matches):
    """Return the singular values of F in normalised coordinates, relative to the largest.

    In pixels, those of a proper F may differ by more than the digits of float64.
    """
    map1, map2 = normalisations(matches)
    values = np.linalg.svd(np.linalg.inv(map2).T @ F @ np.linalg.inv(map1), compute_uv=False)
    return values / values[0]


def normalisations(matches, weight=None):
    """Return the matrices that move the centre to the origin and the mean distance to √2."""
    maps = []
    for points in (matches[:, :2], matches[:, 2:]):
        centre = np.average(points, axis=0, weights=weight)
        mean = np.average(np.linalg.norm(points - centre, axis=1), weights=weight)
        # Equal points have a spread of rounding only.
        size = np.abs(centre).max()
        scale = np.sqrt(2) / (mean if mean > 1e-12 * size else size or 1.0)
        maps.append(
            np.diag([scale, scale, 1.0]) @ np.block([[np.eye(2), -centre[:, None]], [0, 0, 1]])
        )
    return maps


def design(matches, maps):
    """Return the equations on the entries of F as the rows of Kronecker products."""
    x1, x2 = homogeneous(matches[:, :2]) @ maps[0].T, homogeneous(matches[:, 2:]) @ maps[1].T
    return np.array([np.kron(b, a) for a, b in zip(x1, x2)])


def eight_point(matches, weight=None):
    weight = np.ones(len(matches)) if weight is None else np.asarray(weight, float)
    map1, map2 = normalisations(matches, weight)
    rows = np.sqrt(weight)[:, None] * design(matches, (map1, map2))
    F = np.linalg.svd(rows, full_matrices=len(rows) < 9)[2][-1].reshape(3, 3)
    left, values, right = np.linalg.svd(F)
    return unit(map2.T @ left @ np.diag([*values[:2], 0]) @ right @ map1)


def seven_point(matches, weight=None):
    """Return a list of the singular matrices of the pencil, by interpolating the determinant."""
    weight = np.ones(len(matches)) if weight is None else np.asarray(weight, float)
    map1, map2 = normalisations(matches, weight)
    rows = np.sqrt(weight)[:, None] * design(matches, (map1, map2))
    A, B = np.linalg.svd(rows, full_matrices=len(rows) < 9)[2][-2:].reshape(2, 3, 3)
    places = np.array([-1.0, -0.3, 0.4, 1.0])
    cubic = np.linalg.solve(np.vander(places), [np.linalg.det(t * A + (1 - t) * B) for t in places])
    roots = np.roots(cubic)
    return [unit(map2.T @ (t * A + (1 - t) * B) @ map1) for t in roots[np.isreal(roots)].real]


def samples(n_matches, size, n_trials, rng):
    """Yield random subsets, or all where there are no more than asked for."""
    every = list(itertools.islice(itertools.combinations(range(n_matches), size), n_trials + 1))
    if len(every) <= n_trials:
        yield from map(list, every)
        return
    for _ in range(n_trials):
        yield rng.choice(n_matches, size, replace=False)


def best_of_samples(matches, cost, n_trials=300, seed=0):
    """Return the F of seven matches whose Sampson distances cost least."""
    rng = np.random.default_rng(seed)
    best, least = None, np.inf
    for subset in samples(len(matches), 7, n_trials, rng):
        for F in seven_point(matches[subset]):
            value = cost(sampson(F, matches))
            if value < least:
                best, least = F, value
    return best


def ransac(matches, threshold=1.0, n_trials=300, seed=0):
    """Return the F of the best MSAC score, without any refinement."""
    return best_of_samples(
        matches, lambda d: np.minimum(1, (d / threshold) ** 2).sum(), n_trials, seed
    )


def lmeds(matches, n_trials=300, seed=0):
    """Return the F of the least median of distances."""
    return best_of_samples(matches, np.median, n_trials, seed)


def refine(F, matches, loss="linear", scale=1.0):
    """Return the F of least (robust) squared Sampson distances: ``U diag(cos, sin, 0) Vᵀ``.

    Seven parameters (Bartoli and Sturm, 2004), in normalised coordinates; distances in pixels.
    loss: one of scipy's names, or "truncated" at ``scale``.
    """
    if loss == "truncated":
        return _refine_truncated(F, matches, scale)
    map1, map2 = normalisations(matches)
    left, values, right = np.linalg.svd(np.linalg.inv(map2).T @ F @ np.linalg.inv(map1))
    angle = np.arctan2(values[1], values[0])

    def matrix(p):
        U = left @ Rotation.from_rotvec(p[:3]).as_matrix()
        V = right.T @ Rotation.from_rotvec(p[3:6]).as_matrix()
        return map2.T @ U @ np.diag([np.cos(angle + p[6]), np.sin(angle + p[6]), 0]) @ V.T @ map1

    found = least_squares(
        lambda p: residuals(matrix(p), matches),
        np.zeros(7),
        loss=loss,
        f_scale=scale,
        x_scale="jac",
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
    )
    return unit(matrix(found.x))


def _refine_truncated(F, matches, threshold):
    inliers = None
    for _ in range(50):
        now = sampson(F, matches) < threshold
        if inliers is not None and (now == inliers).all():
            break
        inliers = now
        F = refine(F, matches[inliers])
    return F
