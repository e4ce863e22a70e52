"""The formulae of dense flow, compiled, against what they promise."""

import inspect
import itertools

import numpy as np
import pytest
from numba import float32, types
from numba.core.dispatcher import Dispatcher

from fastmotion.flow.kernels import scalar
from tests.reference import flow as reference

FORMULAE = {name: value for name, value in vars(scalar).items() if isinstance(value, Dispatcher)}


@pytest.mark.parametrize("name", FORMULAE)
def test_float32_stays_float32(name):
    formula = FORMULAE[name]
    n_arguments = len(inspect.signature(formula.py_func).parameters)
    formula.compile((float32,) * n_arguments)
    result = formula.overloads[(float32,) * n_arguments].signature.return_type
    elements = tuple(result) if isinstance(result, types.BaseTuple) else (result,)
    # Predicates tell yes or no.
    assert set(elements) in ({float32}, {types.boolean})


@pytest.mark.parametrize("t", np.linspace(0, 0.999, 23, dtype=np.float32))
def test_cubic_weights(t):
    weights = np.array(scalar.cubic_weights(t))
    places = np.arange(-1, 3)
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(weights, reference.keys_kernel(np.float64(t) - places), atol=1e-6)
    for power in range(3):
        assert weights @ places**power == pytest.approx(np.float64(t) ** power, abs=2e-6)


def test_cubic_weights_at_a_pixel_are_the_pixel():
    assert scalar.cubic_weights(np.float32(0)) == (0, 1, 0, 0)


@pytest.mark.parametrize("power", range(5))
def test_differences_are_exact_for_polynomials(power):
    samples = np.float32([(0.25 * k) ** power for k in range(5)])  # at 0, 1/4 ... 1
    a, b, c, d, e = samples
    first = scalar.first_difference(a, b, d, e) * 4
    second = scalar.second_difference(a, b, c, d, e) * 16
    assert first == pytest.approx(power * 0.5 ** (power - 1), abs=1e-5)
    assert second == pytest.approx(power * (power - 1) * 0.5 ** (power - 2), abs=1e-4)


def test_differences_have_the_papers_order():
    # The first polynomial that they miss; were they exact here, the test above would be too weak.
    a, b, c, d, e = np.float32([k**5 for k in range(-2, 3)])
    assert scalar.first_difference(a, b, d, e) == pytest.approx(-4)
    a, b, c, d, e = np.float32([k**6 for k in range(-2, 3)])
    assert scalar.second_difference(a, b, c, d, e) == pytest.approx(-8)


@pytest.mark.parametrize(
    "value, low, high, expected",
    [
        (0.5, 0, 1, 0.5),
        (-3, 0, 1, 0),
        (7, 0, 1, 1),
        (np.inf, 0, 1, 1),
        (-np.inf, 0, 1, 0),
        (np.nan, 2, 3, 2),  # whatever is made an index must lie within
    ],
)
def test_clamp(value, low, high, expected):
    assert scalar.clamp(*np.float32([value, low, high])) == expected


def test_stay_within():
    assert scalar.stay_within(*np.float32([5.0, 2.0, 1.0])) == 3
    assert scalar.stay_within(*np.float32([1.5, 2.0, 1.0])) == 1.5
    assert scalar.stay_within(*np.float32([-5.0, 2.0, np.inf])) == -5


@pytest.mark.parametrize(
    "x, y, expected",
    [
        (0, 0, 1),
        (6, 4, 1),
        (2.5, 3.5, 1),
        (-1e-3, 2, 0),
        (6.001, 2, 0),
        (3, -1e-3, 0),
        (3, 4.001, 0),
    ],
)
def test_is_inside_includes_the_border(x, y, expected):
    assert scalar.is_inside(*np.float32([x, y, 7, 5])) == expected


def test_nothing_is_inside_where_the_place_is_not_a_number():
    assert scalar.is_inside(*np.float32([np.nan, 2, 7, 5])) == 0


MATRICES = [(4, 1, 3), (2, 0, 0), (0, 0, 0), (1, 1, 1), (5, -2, 5), (1e-6, 0, 1e-7), (3, 0, 3)]


@pytest.mark.parametrize("a, b, c", MATRICES)
def test_smaller_eigenvalue(a, b, c):
    expected = np.linalg.eigvalsh([[a, b], [b, c]])[0]
    assert scalar.smaller_eigenvalue(*np.float32([a, b, c])) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("a, b, c", [m for m in MATRICES if m[0] * m[2] > m[1] ** 2])
def test_inverse(a, b, c):
    p, q, r = scalar.inverse_2x2(*np.float32([a, b, c, 0]))
    expected = np.linalg.inv([[a, b], [b, c]])
    np.testing.assert_allclose([[p, q], [q, r]], expected, rtol=1e-5)


def test_inverse_of_zeros_is_finite():
    assert np.isfinite(scalar.inverse_2x2(*np.zeros(4, np.float32))).all()


@pytest.mark.parametrize("squared", [0.0, 1e-6, 0.04, 3.0, 400.0])
@pytest.mark.parametrize("exponent", [0.3, 0.45, 0.5, 0.8, 1.0])
def test_penalty_weight_is_the_derivative_of_the_penalty(squared, exponent):
    epsilon2 = 1e-3

    def penalty(s2):
        return (s2 + epsilon2) ** exponent / exponent

    step = 1e-5 * (squared + epsilon2)
    derivative = (penalty(squared + step) - penalty(squared - step)) / (2 * step)
    weight = scalar.penalty_weight(*np.float32([squared, epsilon2, exponent]))
    assert weight == pytest.approx(derivative, rel=1e-4)
    # The form without branches gives the same.
    general = scalar.generalized_charbonnier(*np.float32([squared, epsilon2, exponent]))
    assert weight == pytest.approx(general, rel=1e-5)


def test_quadratic_penalty_takes_no_epsilon():
    assert scalar.penalty_weight(*np.float32([0.0, 0.0, 1.0])) == 1


def test_robust_weight_without_a_threshold():
    assert scalar.robust_weight(*np.float32([0.3, np.inf])) == 1


@pytest.mark.parametrize("residual", [0.0, 0.01, 0.1, 5.0])
def test_robust_weight(residual):
    weight = scalar.robust_weight(*np.float32([residual**2, 0.1**2]))
    assert weight == pytest.approx(1 / np.hypot(1, residual / 0.1), rel=1e-6)


def test_constancy_scale():
    arguments = np.float32([0.3, -0.4, 1, 0.01])
    assert scalar.constancy_scale(*arguments) == pytest.approx(1 / 0.26)
    arguments[2:] = 0, 1
    assert scalar.constancy_scale(*arguments) == 1


def test_normal_equations_of_one_constancy():
    gx, gy, gt, u0, v0, weight = np.float32([0.3, -0.5, 0.2, 1.5, 0.5, 2.0])
    c = scalar.constancy_side(gx, gy, gt, u0, v0)
    row = np.array([gx, gy])
    # At any flow (u, v) the residual of the line is that of the linearised constancy.
    u, v = 0.7, -0.1
    residual = gt + gx * (u - u0) + gy * (v - v0)
    assert row @ [u, v] - c == pytest.approx(residual, abs=1e-6)
    a11, a12, a22 = scalar.normal_matrix(weight, gx, gy)
    np.testing.assert_allclose([[a11, a12], [a12, a22]], weight * np.outer(row, row), rtol=1e-6)
    side = scalar.normal_side(weight, gx, gy, np.float32(c))
    np.testing.assert_allclose(side, weight * row * c, rtol=1e-6)
    distance2 = scalar.constancy_distance2(
        gx, gy, gt, np.float32(u - u0), np.float32(v - v0), np.float32(1), np.float32(0.01)
    )
    assert distance2 == pytest.approx(residual**2 / (gx**2 + gy**2 + 0.01), rel=1e-5)


@pytest.mark.parametrize("omega", [1.0, 1.2, 1.8, 1.95, 1.999])
def test_relaxation_factors_are_those_of_chebyshev_acceleration(omega):
    radius2 = np.float32(scalar.squared_spectral_radius(np.float32(omega)))
    factors = [np.float32(2)]  # what begins the sequence after the first half-sweep's 1
    for _ in range(400):
        factors.append(np.float32(scalar.next_relaxation_factor(factors[-1], radius2)))
    expected = reference.relaxation_factors(np.float32(omega), 401)
    np.testing.assert_allclose(factors[1:], expected[1:], rtol=1e-3)
    assert factors[-1] == pytest.approx(omega, abs=2e-3)


def test_over_relax():
    assert scalar.over_relax(*np.float32([1.0, 3.0, 1.0])) == 3
    assert scalar.over_relax(*np.float32([1.0, 3.0, 1.5])) == 4


def test_window_update_solves_and_clips():
    matrix, right = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([0.5, -4.0])
    numbers = np.float32([matrix[0, 0], matrix[0, 1], matrix[1, 1], *right, 0.1, np.inf])
    expected = np.linalg.solve(matrix + 0.1 * np.eye(2), -right)
    np.testing.assert_allclose(scalar.window_update(*numbers), expected, rtol=1e-5)
    numbers[-1] = 1.0
    np.testing.assert_allclose(scalar.window_update(*numbers), np.clip(expected, -1, 1), rtol=1e-5)


def test_sort_5_sorts():
    # A network of minima and maxima that sorts all zeros and ones sorts everything (Knuth, TAOCP 3,
    # section 5.3.4, theorem Z).
    for numbers in itertools.product((0, 1), repeat=5):
        assert list(scalar.sort_5(*numbers)) == sorted(numbers)


def test_median_of_sorted_columns_is_the_median():
    # By the same theorem, zeros and ones suffice. A sorted column of them is its number of ones.
    columns = [np.float32([k + n >= 5 for k in range(5)]) for n in range(6)]
    for ones in itertools.product(range(6), repeat=5):
        rows = np.stack([columns[n] for n in ones], axis=1)
        assert scalar.median_of_sorted_columns(*rows.ravel()) == (sum(ones) >= 13), ones
