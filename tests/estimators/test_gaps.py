import numpy as np
import pytest
from scipy.interpolate import CubicSpline, PchipInterpolator

from fastmotion.trajectory import interpolate_gaps
from tests.reference.prediction import gap_weights

METHODS = ("kernel", "spline", "pchip", "linear")


def smooth_walk(rng, *shape):
    """Return random walks whose steps change slowly."""
    steps = rng.normal(size=shape)
    for _ in range(3):
        steps = np.cumsum(steps, axis=-3) * 0.5 - np.roll(np.cumsum(steps, axis=-3) * 0.5, 4, -3)
    return np.cumsum(steps, axis=-3)


def with_gaps(X, *gaps_of_joints):
    X = X.copy()
    for joint, start, stop in gaps_of_joints:
        X[..., start:stop, joint, :] = np.nan
    return X


@pytest.mark.parametrize(
    ("method", "interpolator"),
    [
        ("spline", CubicSpline),
        ("pchip", PchipInterpolator),
        ("linear", lambda t, x: lambda at: np.interp(at, t, x)),
    ],
)
def test_named_interpolators_are_those_of_scipy(rng, method, interpolator):
    X = smooth_walk(rng, 2, 40, 3, 2)
    gapped = with_gaps(X, (0, 4, 9), (0, 20, 21), (2, 1, 30))
    gapped[1, 33, 1, 0] = np.nan
    filled = interpolate_gaps(gapped, method=method)
    for i, joint, coord in np.ndindex(2, 3, 2):
        series = gapped[i, :, joint, coord]
        known = np.flatnonzero(~np.isnan(series))
        expected = interpolator(known, series[known])(np.arange(40))
        np.testing.assert_allclose(filled[i, :, joint, coord], expected, atol=1e-10)


def best_around(gapped, first, stop):
    """Return the best values between two frames from the values between 8 before and 8 behind."""
    curvature = np.nan_to_num(gapped[:, 2:] - 2 * gapped[:, 1:-1] + gapped[:, :-2])
    window = np.arange(max(first - 8, 0), min(stop + 8, gapped.shape[1]))
    n = len(window) - 2
    products = [
        np.sum(curvature[:, lag:] * curvature[:, : curvature.shape[1] - lag]) for lag in range(n)
    ]
    products[0] *= 1.001
    covariance = np.array(products)[np.abs(np.subtract.outer(np.arange(n), np.arange(n)))]
    values = gapped[:, window]
    is_missing = np.isnan(values[0, :, 0, 0])
    filled = values[:, :, 0].copy()
    weights = gap_weights(covariance, np.flatnonzero(is_missing))
    filled[:, is_missing] = np.einsum("gk,skc->sgc", weights, filled[:, ~is_missing])
    return filled[:, (window >= first) & (window < stop)]


@pytest.mark.parametrize("n_missing", [1, 3, 6])
def test_kernel_is_the_best_one_that_keeps_straight_lines(rng, n_missing):
    X = smooth_walk(rng, 3, 60, 2, 1) + 50
    stop = 30 + n_missing
    gapped = with_gaps(X, (0, 30, stop))
    filled = interpolate_gaps(gapped)
    np.testing.assert_allclose(filled[:, 30:stop, 0], best_around(gapped, 30, stop), rtol=1e-8)
    np.testing.assert_array_equal(filled[:, :, 1], X[:, :, 1])


def test_kernel_knows_only_the_frames_that_are_there(rng):
    # Another gap and the end of the sequence lie within reach of each gap.
    X = smooth_walk(rng, 3, 30, 1, 2)
    gapped = with_gaps(X, (0, 20, 23), (0, 25, 26), (0, 0, 2), (0, 4, 5))
    filled = interpolate_gaps(gapped)
    for start, stop in ((20, 23), (25, 26), (4, 5)):
        expected = best_around(gapped, start, stop)
        np.testing.assert_allclose(filled[:, start:stop, 0], expected, rtol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_straight_lines_are_continued_exactly(rng, method):
    t = np.arange(200.0)[:, None, None]
    line = 5e3 + t * rng.normal(size=(1, 2, 3))
    X = np.concatenate([line, smooth_walk(rng, 200, 2, 3)], axis=1)
    gapped = with_gaps(X, (0, 50, 59), (1, 1, 2), (1, 100, 199))
    filled = interpolate_gaps(gapped, method=method)
    np.testing.assert_allclose(filled[:, :2], line, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_shift_and_scale_pass_through(rng, method):
    X = with_gaps(smooth_walk(rng, 2, 80, 2, 3), (0, 10, 14), (1, 40, 41), (1, 60, 75))
    filled = interpolate_gaps(X, method=method)
    moved = interpolate_gaps(1e3 * X + 1e6, method=method)
    np.testing.assert_allclose((moved - 1e6) / 1e3, filled, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_only_gaps_with_values_on_both_sides_are_filled(rng, method):
    X = with_gaps(smooth_walk(rng, 2, 40, 4, 2), (0, 0, 5), (1, 36, 40), (2, 0, 40), (3, 0, 2))
    X[:, 10:13] = np.nan
    filled = interpolate_gaps(X, method=method)
    expected = np.isnan(X)
    expected[:, 10:13, [0, 1, 3]] = False
    np.testing.assert_array_equal(np.isnan(filled), expected)
    np.testing.assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])


@pytest.mark.parametrize("method", METHODS)
def test_longer_gaps_stay(rng, method):
    X = with_gaps(smooth_walk(rng, 60, 2, 1), (0, 10, 13), (0, 20, 24), (1, 30, 33))
    filled = interpolate_gaps(X, method=method, max_gap=3)
    assert set(np.flatnonzero(np.isnan(filled[:, 0, 0]))) == {20, 21, 22, 23}
    assert not np.isnan(filled[:, 1]).any()


def test_a_gap_does_not_reach_into_the_next_sequence(rng):
    X = [smooth_walk(rng, n, 1, 2) for n in (20, 30)]
    X[0][18:] = X[1][:2] = np.nan
    filled = interpolate_gaps(X)
    np.testing.assert_array_equal(filled[0], X[0])
    np.testing.assert_array_equal(filled[1], X[1])
    X[0][15] = np.nan
    near = interpolate_gaps(X)
    X[1] += 1e6
    shifted = interpolate_gaps(X)
    np.testing.assert_allclose(shifted[0][15], near[0][15], rtol=1e-8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0], [1.0]),
        ([np.nan, np.nan], [np.nan, np.nan]),
        ([np.nan, 2.0, np.nan], [np.nan, 2.0, np.nan]),
        ([1.0, np.nan, 3.0], [1.0, 2.0, 3.0]),
        ([4.0, np.nan, np.nan, 4.0, np.nan], [4.0, 4.0, 4.0, 4.0, np.nan]),
    ],
)
def test_tiny_input(method, values, expected):
    X = np.array(values).reshape(-1, 1, 1)
    filled = interpolate_gaps(X, method=method)
    np.testing.assert_allclose(filled.ravel(), expected, rtol=1e-12)


def test_with_nothing_to_learn_from_the_kernel_is_a_spline():
    # No second difference has its three values.
    X = np.array([0, 1, np.nan, 9, 16, np.nan, 36.0]).reshape(-1, 1, 1)
    filled = interpolate_gaps(X)
    curvature = np.diff(np.eye(7), 2, axis=0)
    known = [0, 1, 3, 4, 6]
    unknown = np.linalg.lstsq(curvature[:, [2, 5]], -curvature[:, known] @ X[known, 0, 0])[0]
    np.testing.assert_allclose(filled[[2, 5], 0, 0], unknown, rtol=1e-10)


def test_motion_that_the_data_shows_is_filled_better_than_by_a_spline(rng):
    t = np.arange(600)[:, None, None]
    X = np.sin(t / rng.uniform(2, 3, (1, 4, 3)) + rng.uniform(0, 6, (1, 4, 3)))
    gapped = with_gaps(X, *((0, start, start + 5) for start in range(20, 580, 60)))
    error = {m: np.abs(interpolate_gaps(gapped, method=m) - X).max() for m in METHODS}
    assert error["kernel"] < 0.2 * error["spline"]


def test_gaps_too_long_for_the_kernel_are_filled_without_overshoot(rng):
    X = smooth_walk(rng, 400, 1, 2)
    gapped = with_gaps(X, (0, 100, 229), (0, 300, 304))
    filled = interpolate_gaps(gapped)
    pchip = interpolate_gaps(gapped, method="pchip")
    np.testing.assert_array_equal(filled[100:229], pchip[100:229])
    assert (filled[300:304] != pchip[300:304]).all()


@pytest.mark.parametrize("method", METHODS)
def test_input_is_kept_and_float32_stays(rng, method):
    X = with_gaps(smooth_walk(rng, 50, 2, 3), (0, 10, 13)).astype(np.float32)
    X.setflags(write=False)
    before = X.copy()
    filled = interpolate_gaps(X, method=method)
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(X, before)
    complete = interpolate_gaps(filled, method=method)
    np.testing.assert_array_equal(complete, filled)
    assert not np.shares_memory(complete, filled)


def test_axes_lists_and_xarray_keep_their_form(rng):
    X = with_gaps(smooth_walk(rng, 2, 50, 2, 3), (0, 10, 13))
    filled = interpolate_gaps(X)
    as_list = interpolate_gaps(list(X))
    np.testing.assert_array_equal(as_list, filled)
    axes = ("joint", "sequence", "coord", "frame")
    moved = interpolate_gaps(X.transpose(2, 0, 3, 1), axes=axes)
    np.testing.assert_array_equal(moved.transpose(1, 3, 0, 2), filled)
    xarray = pytest.importorskip("xarray")
    data = xarray.DataArray(X[0], dims=("time", "keypoints", "space"), attrs={"source": "made up"})
    result = interpolate_gaps(data)
    assert result.dims == data.dims
    assert result.attrs == data.attrs
    np.testing.assert_array_equal(result.values, interpolate_gaps(X[0]))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"method": "cubic"}, ValueError, r"method must be one of \['kernel', .* got 'cubic'"),
        ({"max_gap": 0}, ValueError, "max_gap must be at least 1 frame, got 0"),
        ({"max_gap": 2.5}, TypeError, "max_gap must be a whole number of frames or None, got 2.5"),
        ({"max_gap": True}, TypeError, "got True"),
        ({"axes": ("frame",)}, ValueError, "axes"),
    ],
)
def test_wrong_parameter_is_an_error(parameters, error, message):
    with pytest.raises(error, match=message):
        interpolate_gaps(np.zeros((5, 2, 3)), **parameters)


def test_wrong_input_is_an_error():
    X = np.zeros((5, 2, 3))
    X[2] = np.inf
    with pytest.raises(ValueError, match="X must not hold infinite values; mark"):
        interpolate_gaps(X)
    with pytest.raises(ValueError, match="must have shape"):
        interpolate_gaps(X[0])


@pytest.mark.data
@pytest.mark.parametrize("n_missing", [1, 3, 5, 9])
def test_motion_capture_is_filled_better_than_by_a_spline(data_dir, n_missing):
    with np.load(data_dir / "trajectory" / "cmu_mocap_8actions.npz") as file:
        X = np.split(file["X"], np.cumsum(file["lengths"])[:-1])
        is_test = (file["split"] == 1) & (file["action"] != "walking_extra")
    X = [X[i] for i in np.flatnonzero(is_test)]
    gapped = [x.copy() for x in X]
    for x in gapped:
        for start in range(15, len(x) - 15 - n_missing, 40):
            x[start : start + n_missing] = np.nan
    error = {}
    for method in ("kernel", "spline"):
        filled = interpolate_gaps(gapped, method=method)
        misses = [
            np.linalg.norm(f - x, axis=-1)[np.isnan(g[:, 0, 0])]
            for f, x, g in zip(filled, X, gapped)
        ]
        error[method] = np.mean([miss.mean() for miss in misses])
    assert error["kernel"] < 0.97 * error["spline"]
