"""Least squares without normal equations: penalties as rows more, constraints as a saddle point."""

import numpy as np


def penalised_rows(A, b, weight=None, alpha=0.0, prior=None, smoothness=0.0, smoothness_order=1):
    """Return a plain problem of one target of which the weighted, penalised one is a part."""
    root = np.ones(len(A)) if weight is None else np.sqrt(weight)
    n = A.shape[1]
    first = np.eye(n)[1:] - np.eye(n)[:-1]
    differences = first if smoothness_order == 1 else first[1:] - first[:-1]
    prior = np.zeros(n) if prior is None else np.asarray(prior)
    rows = [root[:, None] * A, np.sqrt(alpha) * np.eye(n), np.sqrt(smoothness) * differences]
    right = [root * b, np.sqrt(alpha) * prior, np.zeros(len(differences))]
    return np.concatenate(rows).astype(float), np.concatenate(right).astype(float)


def coefficients(A, b, constraints=None, values=None, **terms):
    """Return the coefficients of one target, the shortest where several are best."""
    rows, right = penalised_rows(A, b, **terms)
    if constraints is None:
        return np.linalg.lstsq(rows, right, rcond=None)[0]
    constraints = np.asarray(constraints, dtype=float)
    values = np.zeros(len(constraints)) if values is None else np.asarray(values)
    size = len(constraints)
    saddle = np.block([[rows.T @ rows, constraints.T], [constraints, np.zeros((size, size))]])
    return np.linalg.lstsq(saddle, np.append(rows.T @ right, values), rcond=None)[0][: A.shape[1]]


def with_intercept(A, b, weight=None):
    """Return the coefficients and the intercept, computed on centred long doubles."""
    weight = np.ones(len(A)) if weight is None else np.asarray(weight)
    share = np.longdouble(weight) / np.longdouble(weight).sum()
    mean, target = share @ np.longdouble(A), share @ np.longdouble(b)
    centred, right = np.float64(A - mean), np.float64(b - target)
    coef = coefficients(centred, right, weight=weight)
    return coef, float(target - mean @ coef)


def matrix_of_condition(rng, shape, condition):
    """Return a matrix of full rank whose singular values fall from 1 to 1 / condition."""
    left, _ = np.linalg.qr(rng.normal(size=shape))
    right, _ = np.linalg.qr(rng.normal(size=(shape[1], shape[1])))
    return left * np.geomspace(1, 1 / condition, shape[1]) @ right.T


def assert_close(found, expected, tolerance=1e-11):
    """Compare coefficients on the scale of the largest of them."""
    expected = np.asarray(expected)
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)
