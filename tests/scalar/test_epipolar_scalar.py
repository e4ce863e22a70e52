"""The formulae of two views, plain and compiled, against what they promise."""

import inspect

import numpy as np
import pytest
from numba import boolean, float32, float64, types
from numba.core.dispatcher import Dispatcher

from fastmotion.epipolar.kernels import planar_scalar, scalar
from tests.reference import epipolar as reference
from tests.reference import homography

FORMULAE = {
    name: value
    for module in (scalar, planar_scalar)
    for name, value in vars(module).items()
    if isinstance(value, Dispatcher) and value.py_func.__module__ == module.__name__
}


PREDICATES = {"same_orientation", "is_hopeless", "will_hardly_exceed", "differ_little"}
# Fits are made in float64, whatever the matches are.
OF_FITS = {"linearised_match", "right_share", "estimated_mixture"}


def ways(formula):
    """Return the plain and the compiled formula."""
    return formula.py_func, formula


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


def draws(dtype, *shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def tolerance(dtype):
    return {"rtol": 200 * np.finfo(dtype).eps, "atol": 50 * np.finfo(dtype).eps}


@pytest.mark.parametrize("kind", [float32, float64])
@pytest.mark.parametrize("name", FORMULAE)
def test_precision_stays(name, kind):
    formula = FORMULAE[name]
    signature = (kind,) * len(inspect.signature(formula.py_func).parameters)
    formula.compile(signature)
    result = formula.overloads[signature].signature.return_type
    elements = set(result) if isinstance(result, types.BaseTuple) else {result}
    wanted = boolean if name in PREDICATES else float64 if name in OF_FITS else kind
    assert elements == {wanted}


def test_sampson_terms_are_residual_and_gradient(dtype):
    for F, match in zip(draws(dtype, 20, 3, 3), draws(dtype, 20, 4, seed=1)):
        x1, x2 = np.append(match[:2], 1), np.append(match[2:], 1)
        expected = [x2 @ F @ x1, *(F @ x1)[:2], *(x2 @ F)[:2]]
        for formula in ways(scalar.sampson_terms):
            terms = formula(*F.ravel(), *match)
            np.testing.assert_allclose(terms, expected, **tolerance(dtype))


def test_sampson_terms_make_the_distance():
    F, matches = draws(np.float64, 3, 3), draws(np.float64, 20, 4, seed=1)
    terms = np.array([scalar.sampson_terms(*F.ravel(), *match) for match in matches])
    distances = np.abs(terms[:, 0]) / np.linalg.norm(terms[:, 1:], axis=1)
    np.testing.assert_allclose(distances, reference.sampson(F, matches), rtol=1e-9)


def test_cofactors(dtype):
    for F in draws(dtype, 20, 3, 3):
        wide = F.astype(float)
        expected = (np.linalg.det(wide) * np.linalg.inv(wide).T).ravel()
        for formula in ways(scalar.cofactors):
            np.testing.assert_allclose(formula(*F.ravel()), expected, **tolerance(dtype))


def test_planar_residual_and_its_derivatives(dtype):
    for H, match in zip(draws(dtype, 20, 3, 3), draws(dtype, 20, 4, seed=1)):
        wide = H.astype(float)

        def errors(m, wide=wide):
            x, y, w = wide @ [m[0], m[1], 1]
            return np.array([x - m[2] * w, y - m[3] * w])

        # They are linear in each coordinate: differences are derivatives.
        at = match.astype(float)
        J = np.transpose([errors(at + axis) - errors(at) for axis in np.eye(4)])
        for formula in ways(planar_scalar.planar_residual):
            e1, e2, a, b, c, d, w = formula(*H.ravel(), *match)
            np.testing.assert_allclose([e1, e2], errors(at), **tolerance(dtype))
            found = [[a, b, -w, 0], [c, d, 0, -w]]
            np.testing.assert_allclose(found, J, **tolerance(dtype))
            determinant = np.linalg.det(J @ J.T)
            for other in ways(planar_scalar.planar_determinant):
                np.testing.assert_allclose(
                    other(a, b, c, d, w * w), determinant, rtol=1e4 * np.finfo(dtype).eps
                )


def test_planar_sampson_is_a_squared_distance(dtype):
    H = np.eye(3) + 0.2 * draws(np.float64, 3, 3)
    matches = draws(dtype, 20, 4, seed=1)
    expected = homography.sampson(H.astype(dtype).astype(float), matches.astype(float)) ** 2
    for formula in ways(planar_scalar.planar_sampson):
        found = [formula(*H.astype(dtype).ravel(), *match) for match in matches]
        np.testing.assert_allclose(found, expected, rtol=2e3 * np.finfo(dtype).eps)


def signed_area(p, q, r):
    return np.linalg.det(np.column_stack([[p, q, r], np.ones(3)]))


def test_triple_areas(dtype):
    for points in draws(dtype, 20, 3, 2):
        a, b, c = points.astype(float)
        zero = np.zeros(2)
        pairs = [(zero, b, c), (zero, c, a), (zero, a, b), (a, b, c)]
        expected = [signed_area(*pair) for pair in pairs]
        for formula in ways(planar_scalar.triple_areas):
            np.testing.assert_allclose(formula(*points.ravel()), expected, **tolerance(dtype))


@pytest.mark.parametrize("turned", range(4))
def test_same_orientation(turned, dtype):
    first = np.array([0.5, -2.0, 3.0, -1.0], dtype)
    second = np.array([1.5, -0.1, 2.0, -4.0], dtype)
    for formula in ways(planar_scalar.same_orientation):
        assert formula(*first, *second)
        assert formula(*first, *-second)
        for factor in (-1, 0):
            other = second.copy()
            other[turned] *= factor
            assert not formula(*first, *other)
            assert not formula(*first, *-other)


def test_four_point_homography(dtype):
    for points in draws(dtype, 10, 2, 3, 2):
        one, two = points
        areas1 = planar_scalar.triple_areas.py_func(*one.ravel())[:3]
        areas2 = planar_scalar.triple_areas.py_func(*two.ravel())[:3]
        for formula in ways(planar_scalar.four_point_homography):
            H = np.reshape(formula(*one.ravel(), *areas1, *two.ravel(), *areas2), (3, 3))
            image = np.array([H @ [*p, 1] for p in np.vstack([np.zeros(2), one])], float)
            wanted = np.vstack([np.zeros(2), two]) * image[:, 2:]
            size = np.abs(H).max()
            np.testing.assert_allclose(image[:, :2], wanted, atol=200 * np.finfo(dtype).eps * size)
            assert abs(np.linalg.det(H / size)) > 1e-6


def test_between_origins(dtype):
    for H, match in zip(draws(dtype, 20, 3, 3), draws(dtype, 20, 4, seed=1)):
        x1, y1, x2, y2 = match.astype(float)
        to1 = np.array([[1, 0, -x1], [0, 1, -y1], [0, 0, 1]])
        from2 = np.array([[1, 0, x2], [0, 1, y2], [0, 0, 1]])
        expected = (from2 @ H @ to1).ravel()
        for formula in ways(planar_scalar.between_origins):
            np.testing.assert_allclose(formula(*H.ravel(), *match), expected, **tolerance(dtype))
