"""What holds of the kernels that are known by name."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import freqz, savgol_coeffs

from fastmotion.trajectory import fixed_kernel, frequency_response
from fastmotion.trajectory.fixed import FIXED_KERNELS

some = settings(max_examples=40, deadline=None, derandomize=True, database=None)

SAVGOL = {"savgol": 0, "savgol_velocity": 1, "savgol_acceleration": 2, "savgol_jerk": 3}

# The order of the derivative, and up to which degree polynomials get theirs exactly.
STENCILS = {
    ("hold", True): (0, math.inf),
    ("hold", False): (0, math.inf),
    ("velocity", True): (1, 1),
    ("velocity", False): (1, 2),
    ("acceleration", True): (2, 2),
    ("acceleration", False): (2, 3),
    ("jerk", True): (3, 3),
    ("jerk", False): (3, 4),
}


def applied_to_powers(offsets, weights, degrees):
    """Return what a kernel gives at 0 for t**m / m!, and the size of what it adds up."""
    powers = [np.power(offsets.astype(float), m) / math.factorial(m) for m in range(degrees)]
    return np.array(powers) @ weights, np.abs(powers) @ np.abs(weights)


@pytest.mark.parametrize(("name", "causal"), STENCILS)
def test_stencils_are_exact_up_to_their_degree_and_no_further(name, causal):
    derivative, degree = STENCILS[name, causal]
    offsets, weights = fixed_kernel(name, causal=causal)
    got, _ = applied_to_powers(offsets, weights, 7)
    expected = np.arange(7) == derivative
    n_exact = min(int(degree) + 1 if degree < math.inf else 7, 7)
    np.testing.assert_allclose(got[:n_exact], expected[:n_exact], atol=1e-12)
    if n_exact < 7:
        assert abs(got[n_exact]) > 0.01


@pytest.mark.parametrize("name", SAVGOL)
@pytest.mark.parametrize("causal", [True, False])
@some
@given(data=st.data())
def test_savitzky_golay_is_exact_for_its_polynomials(name, causal, data):
    order = data.draw(st.integers(SAVGOL[name], 6))
    n_taps = 2 * data.draw(st.integers((order + 1) // 2, 30)) + 1
    offsets, weights = fixed_kernel(name, n_taps=n_taps, causal=causal, polynomial_order=order)
    got, size = applied_to_powers(offsets, weights, order + 1)
    error = np.abs(got - (np.arange(order + 1) == SAVGOL[name]))
    assert (error <= 1e-12 * np.maximum(size, 1)).all()


@pytest.mark.parametrize("name", SAVGOL)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("n_taps", "order"), [(5, 3), (5, 4), (7, 4), (21, 3), (31, 4), (51, 4)])
def test_savitzky_golay_equals_scipy(name, causal, n_taps, order):
    _, weights = fixed_kernel(name, n_taps=n_taps, causal=causal, polynomial_order=order)
    pos = n_taps - 1 if causal else None
    expected = savgol_coeffs(n_taps, order, deriv=SAVGOL[name], pos=pos, use="dot")
    # Its powers of t are ill-conditioned in long windows.
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-8 * abs(expected).max())


@pytest.mark.parametrize(("name", "n_taps"), [("savgol", 4), ("savgol_jerk", 4)])
def test_default_order_and_even_causal_windows(name, n_taps):
    _, weights = fixed_kernel(name, n_taps=n_taps)
    order = {"savgol": 2, "savgol_jerk": 3}[name]
    expected = savgol_coeffs(n_taps, order, deriv=SAVGOL[name], pos=n_taps - 1, use="dot")
    np.testing.assert_allclose(weights, expected, atol=1e-12)


def test_one_tap_of_savitzky_golay_is_hold():
    offsets, weights = fixed_kernel("savgol", n_taps=1, polynomial_order=0)
    assert offsets.tolist() == [0]
    np.testing.assert_allclose(weights, [1])


@pytest.mark.parametrize("name", FIXED_KERNELS)
@pytest.mark.parametrize("causal", [True, False])
def test_offsets_increase_by_one_and_end_where_they_should(name, causal):
    n_taps = None if FIXED_KERNELS[name].method == "stencil" else 7
    offsets, weights = fixed_kernel(name, n_taps=n_taps, causal=causal)
    assert offsets.dtype == np.int64 and weights.dtype == np.float64
    assert offsets.shape == weights.shape
    assert (np.diff(offsets) == 1).all()
    assert offsets[-1] == (0 if causal else -offsets[0])


@pytest.mark.parametrize("name", FIXED_KERNELS)
@pytest.mark.parametrize("fps", [30.0, 120, np.float32(50)])
def test_fps_gives_units_per_second(name, fps):
    n_taps = None if FIXED_KERNELS[name].method == "stencil" else 9
    offsets, weights = fixed_kernel(name, n_taps=n_taps, fps=fps)
    derivative = FIXED_KERNELS[name].derivative
    t = offsets / float(fps)
    assert weights @ t**derivative == pytest.approx(math.factorial(derivative), rel=1e-9)


@pytest.mark.parametrize("causal", [True, False])
def test_moving_average(causal):
    offsets, weights = fixed_kernel("moving_average", n_taps=5, causal=causal)
    np.testing.assert_allclose(weights, 0.2)
    assert offsets.mean() == (-2 if causal else 0)


def test_the_result_is_the_callers():
    fixed_kernel("velocity")[1][:] = 7
    np.testing.assert_array_equal(fixed_kernel("velocity")[1], [-1, 1])


# Frequency response


@pytest.mark.parametrize("name", FIXED_KERNELS)
@pytest.mark.parametrize("causal", [True, False])
def test_response_to_a_sampled_sinusoid(name, causal):
    n_taps = None if FIXED_KERNELS[name].method == "stencil" else 9
    offsets, weights = fixed_kernel(name, n_taps=n_taps, causal=causal, fps=60)
    frequencies = np.array([0.0, 1.5, 7.25, 30.0, -3.0])
    response = frequency_response(offsets, weights, frequencies, fps=60)
    assert response.shape == (5,) and response.dtype == np.complex128
    for factor, frequency in zip(response, frequencies):
        wave = np.exp(2j * np.pi * frequency * np.arange(40) / 60)
        result = sum(w * wave[20 + o] for o, w in zip(offsets, weights))
        assert result == pytest.approx(factor * wave[20], abs=1e-9 * abs(weights).sum())


def test_response_equals_that_of_a_causal_filter():
    offsets, weights = fixed_kernel("savgol_velocity", n_taps=9)
    frequencies = np.linspace(0, 0.5, 20)
    _, expected = freqz(weights[::-1], worN=2 * np.pi * frequencies)
    np.testing.assert_allclose(
        frequency_response(offsets, weights, frequencies), expected, atol=1e-12
    )


def test_response_of_a_derivative_at_low_frequencies():
    frequency = 0.01
    for name, derivative in SAVGOL.items():
        kernel = fixed_kernel(name, n_taps=7, causal=False, polynomial_order=4, fps=25)
        (response,) = frequency_response(*kernel, [frequency], fps=25)
        assert response == pytest.approx((2j * np.pi * frequency) ** derivative, rel=1e-5)


def test_response_of_several_kernels(rng):
    weights = rng.normal(size=(3, 2, 4))
    response = frequency_response(np.arange(-3, 1), weights, [0.1, 0.2])
    assert response.shape == (3, 2, 2)
    np.testing.assert_allclose(
        response[1, 0], frequency_response(np.arange(-3, 1), weights[1, 0], [0.1, 0.2])
    )


# What is refused


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("speed", {}, r"name must be one of \['hold', 'velocity', .* got 'speed'"),
        ("velocity", {"n_taps": 3}, "n_taps must be None or 2 for 'velocity', got 3"),
        ("jerk", {"n_taps": 4, "causal": False}, "n_taps must be None or 5"),
        ("velocity", {"polynomial_order": 2}, "polynomial_order must be None for 'velocity'"),
        ("moving_average", {}, "'moving_average' needs n_taps"),
        ("moving_average", {"n_taps": 0}, "n_taps must be at least 1, got 0"),
        ("moving_average", {"n_taps": 4, "causal": False}, "n_taps must be odd"),
        ("savgol", {"n_taps": 6, "causal": False}, "n_taps must be odd"),
        ("savgol", {"n_taps": 3, "polynomial_order": 3}, "less than n_taps=3, got 3"),
        ("savgol", {"n_taps": 3, "polynomial_order": -1}, "polynomial_order must be at least 0"),
        (
            "savgol_jerk",
            {"n_taps": 9, "polynomial_order": 2},
            "polynomial_order must be at least 3",
        ),
        ("savgol_jerk", {"n_taps": 3}, "less than n_taps=3"),
        ("velocity", {"fps": 0}, "fps must be a positive number"),
        ("hold", {"fps": -30}, "fps must be a positive number"),
        ("velocity", {"fps": np.nan}, "fps must be a positive number"),
        ("velocity", {"fps": np.inf}, "fps must be a positive number"),
        ("velocity", {"fps": "30"}, "fps must be a positive number"),
    ],
)
def test_kernels_that_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        fixed_kernel(name, **options)


@pytest.mark.parametrize("options", [{"n_taps": 5.0}, {"n_taps": 5, "polynomial_order": 2.0}])
def test_numbers_that_must_be_integers(options):
    with pytest.raises(TypeError, match="must be an integer"):
        fixed_kernel("savgol", **options)


@pytest.mark.parametrize(
    ("offsets", "weights", "frequencies"),
    [([0, 1], [1, 2, 3], [0.1]), ([[0]], [1], [0.1]), ([0], 1.0, [0.1]), ([0], [1], 0.1)],
)
def test_shapes_of_a_response_that_are_refused(offsets, weights, frequencies):
    with pytest.raises(ValueError, match="must have shapes"):
        frequency_response(offsets, weights, frequencies)
