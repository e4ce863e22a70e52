"""The CPU kernels of dense flow against the references, whatever the shape and the threads."""

import numpy as np
import pytest

from fastmotion.core import compile as core_compile
from fastmotion.core.device import thread_limit
from fastmotion.flow.kernels import cpu, sampling
from fastmotion.flow.pyramid import resampling_weights
from tests.reference import flow as reference
from tests.reference.flow_cases import (
    FUNCTIONALS,
    WINDOW_FUNCTIONAL,
    random_flow,
    texture,
    texture_pair,
)

SHAPES = [(16, 16), (17, 16), (16, 17), (19, 23), (61, 83), (16, 200), (200, 16), (1, 2), (3, 1)]
LONG = [(16, 2000), (2000, 16)]


def checkerboard(shape):
    return np.float32(np.indices(shape).sum(axis=0) % 2)


# Pairs on which something could divide by nothing.
DEGENERATE = {
    "flat": lambda shape: (np.full(shape, 0.5, np.float32),) * 2,
    "black and white": lambda shape: (np.zeros(shape, np.float32), np.ones(shape, np.float32)),
    "noise": lambda shape: tuple(texture(shape, seed, sigma=0) for seed in (1, 2)),
    "checkerboard": lambda shape: (checkerboard(shape), 1 - checkerboard(shape)),
    "steps": lambda shape: (np.round(texture(shape)), np.round(texture(shape, 1))),
    "denormal": lambda shape: (texture(shape) * np.float32(1e-40), texture(shape, 1)),
}


def warp(image, flow):
    out = np.full_like(image, np.nan)
    cpu.warp(image, flow, out)
    return out


def median(planes):
    out = np.full_like(planes, np.nan)
    cpu.median(planes, out)
    return out


def relax(frames, base, flow, functional, n_sweeps=5, omega=1.8, max_update=1.0, n_bands=2):
    out = np.full_like(flow, np.nan)
    cpu.relax(
        *frames,
        base,
        flow,
        out,
        functional,
        n_sweeps,
        np.float32(omega),
        np.float32(max_update),
        n_bands,
    )
    return out


def window_weights(radius):
    """Return unequal weights whose window sums to one, as the estimator's do."""
    weights = 1 / (1 + np.arange(radius + 1))
    return np.float32(weights / (2 * weights.sum() - weights[0]))


def solve_windows(frames, flow, radius=3, functional=WINDOW_FUNCTIONAL, n_bands=2):
    out = np.full_like(flow, np.nan)
    confidence = np.full_like(frames[0], np.nan)
    cpu.solve_windows(*frames, flow, out, confidence, window_weights(radius), functional, n_bands)
    return out, confidence


def relax_reference(frames, base, flow, functional, n_sweeps=5, omega=1.8, max_update=1.0):
    factors = reference.relaxation_factors(np.float32(omega), 2 * n_sweeps)
    return reference.relax(*frames, base, flow, functional, factors, max_update)


# resample


def resample(planes, new_shape, axes, factor):
    out = np.full((len(planes), *new_shape), np.nan, np.float32)
    cpu.resample(planes, out, *axes[0], *axes[1], factor)
    return out


def random_axis(rng, size, new_size, n_taps):
    """Return random weights of an axis, that reach out of it; all alike where it keeps its size."""
    start = rng.integers(1 - n_taps, size, new_size)
    weights = rng.random((n_taps, new_size), dtype=np.float32)
    if size == new_size:
        start = np.arange(size) - rng.integers(n_taps)
        weights[:] = weights[:, :1]
    return start, weights


@pytest.mark.parametrize("new_shape", [(33, 47), (33, 40), (45, 47), (31, 7), (1, 1), (90, 130)])
def test_resample_multiplies_by_matrices(rng, new_shape):
    planes = np.stack([texture((33, 47), seed) for seed in range(3)])
    factor = np.float32([1, -2, 0.5])
    axes = [random_axis(rng, *sizes) for sizes in zip((33, 47), new_shape, (5, 8))]
    down, along = (reference.resampling_matrix(*axis, size) for axis, size in zip(axes, (33, 47)))
    expected = factor[:, None, None] * (down @ planes @ along.T)
    np.testing.assert_allclose(resample(planes, new_shape, axes, factor), expected, atol=2e-5)


@pytest.mark.parametrize("size, new_size", [(16, 16), (16, 41), (16, 17), (1, 30), (33, 66)])
def test_enlarging_is_linear_interpolation(size, new_size):
    start, weights = resampling_weights(size, new_size, 0.0)
    matrix = reference.resampling_matrix(start, weights, size)
    np.testing.assert_allclose(matrix, reference.interpolation_matrix(size, new_size), atol=1e-6)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 3.0, 30.0])
@pytest.mark.parametrize("size, new_size", [(64, 64), (64, 48), (64, 7), (65, 1), (7, 40), (1, 1)])
def test_resampling_weights(size, new_size, sigma):
    start, weights = resampling_weights(size, new_size, sigma)
    matrix = reference.resampling_matrix(start, weights, size)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    # Both ends are treated alike, and a ramp stays one at the pixel centres' places.
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)
    places = (np.arange(new_size) + 0.5) * size / new_size - 0.5
    reach = 2 + 4 * max(sigma, 1) * max(size / new_size, 1)
    inner = (places > reach) & (places < size - 1 - reach)
    np.testing.assert_allclose((matrix @ np.arange(size))[inner], places[inner], rtol=1e-5)


def test_prefilter_is_a_gaussian():
    start, weights = resampling_weights(40, 40, 1.2)
    matrix = reference.resampling_matrix(start, weights, 40)
    distance = np.subtract.outer(np.arange(40), np.arange(40))
    gaussian = np.exp(-0.5 * (distance / 1.2) ** 2)
    inner = slice(8, -8)  # near the ends, samples outside are folded back
    expected = gaussian / gaussian[20].sum()
    np.testing.assert_allclose(matrix[inner], expected[inner], atol=2e-3)


# warp


@pytest.mark.parametrize("magnitude", [0.0, 0.7, 5.0, 60.0, 1e6, 1e20])
@pytest.mark.parametrize("shape", SHAPES + LONG)
def test_warp(shape, magnitude):
    image, flow = texture(shape), random_flow(shape, magnitude)
    if magnitude > 0:
        flow[:, 0] = np.round(flow[:, 0])  # exactly on pixels, and so on the border
    # A place is known to half a unit of its last digit, an intensity to that times the gradient.
    tolerance = 5e-6 + max(shape) * 1e-6
    np.testing.assert_allclose(warp(image, flow), reference.warp(image, flow), atol=tolerance)


def test_warp_by_nothing_is_the_identity():
    image = texture((19, 23), sigma=0)
    np.testing.assert_array_equal(warp(image, np.zeros((2, 19, 23), np.float32)), image)


def test_warp_out_of_the_image_repeats_the_border():
    image = texture((19, 23))
    flow = np.zeros((2, 19, 23), np.float32)
    flow[0] = np.float32(np.finfo(np.float32).max)
    np.testing.assert_array_equal(warp(image, flow), np.tile(image[:, -1:], (1, 23)))
    flow[0] = -flow[0]
    np.testing.assert_array_equal(warp(image, flow), np.tile(image[:, :1], (1, 23)))


def test_warp_by_nan_stays_within_the_image(run_python):
    # In a process of its own: an index far outside ends the process.
    run_python(
        "import numpy as np\n"
        "from fastmotion.flow.kernels import cpu\n"
        "image = np.ones((2000, 16), np.float32)\n"
        "flow = np.full((2, 2000, 16), np.nan, np.float32)\n"
        "cpu.warp(image, flow, np.empty_like(image))\n"
    )


# median


@pytest.mark.parametrize("shape", SHAPES + LONG)
def test_median(shape):
    planes = np.stack([texture(shape, seed, sigma=0) for seed in range(2)])
    planes[1] = np.round(4 * planes[1])  # ties
    np.testing.assert_array_equal(median(planes), reference.median(planes))


def test_median_of_huge_values():
    planes = np.float32(1e38) * (2 * texture((2, 17, 19), sigma=0) - 1)
    np.testing.assert_array_equal(median(planes), reference.median(planes))


# weighted median


def reliability(frames, flow):
    out = np.full_like(frames[0], np.nan)
    cpu.reliability(*frames, flow, out)
    return out


def weighted_median(frame, weights, flow):
    out = np.full_like(flow, np.nan)
    cpu.weighted_median(frame, weights, flow, out)
    return out


@pytest.mark.parametrize("magnitude", [0.0, 2.0, 1e20])
@pytest.mark.parametrize("shape", SHAPES)
def test_reliability(shape, magnitude):
    frames, flow = texture_pair(shape), random_flow(shape, magnitude)
    scales = sampling.RESIDUAL_SCALE, sampling.DIVERGENCE_SCALE
    expected = reference.reliability(*frames, flow, *map(np.float64, scales))
    np.testing.assert_allclose(reliability(frames, flow), expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_weighted_median(shape, rng):
    frame, weights = texture(shape), rng.random(shape, dtype=np.float32)
    flow = random_flow(shape, 3.0)
    flow[:, shape[0] // 2 :] += 2  # a motion boundary
    flow[:, :, : shape[1] // 3] = 0  # and motion without any
    near = reference.near_boundary(flow, sampling.REACH, sampling.BOUNDARY_BEND)
    assert min(shape) < 16 or (near.any() and not near.all())
    medians = reference.weighted_median(
        frame, weights, flow, sampling.WINDOW, np.float64(sampling.LIKENESS_SCALE)
    )
    # Found by bisection, so known to a part of the range.
    tolerance = (flow.max() - flow.min()) * 2.0**-sampling.BISECTIONS
    out = weighted_median(frame, weights, flow)
    np.testing.assert_allclose(out, np.where(near, medians, flow), atol=tolerance + 1e-6)


def test_weighted_median_of_unreliable_pixels_is_finite():
    flow = random_flow((20, 21), 1e6)
    out = weighted_median(texture((20, 21)), np.zeros((20, 21), np.float32), flow)
    assert (out.min() >= flow.min()) and (out.max() <= flow.max())


# relax


@pytest.mark.parametrize("name", FUNCTIONALS)
@pytest.mark.parametrize("shape", SHAPES)
def test_relax_is_red_black_over_relaxation(shape, name):
    frames, functional = texture_pair(shape), FUNCTIONALS[name]
    base, flow = random_flow(shape, 2.0, seed=1), random_flow(shape, 1.5, seed=3)
    expected = relax_reference(frames, base, flow, functional)
    np.testing.assert_allclose(relax(frames, base, flow, functional), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["quadratic", "robust"])
@pytest.mark.parametrize("shape", LONG)
def test_relax_long_images(shape, name):
    frames, functional = texture_pair(shape), FUNCTIONALS[name]
    flow = random_flow(shape, 1.5)
    expected = relax_reference(frames, flow, flow, functional)
    np.testing.assert_allclose(relax(frames, flow, flow, functional), expected, atol=1e-4)


@pytest.mark.parametrize("n_sweeps", range(1, 13))
@pytest.mark.parametrize("shape", [(16, 17), (37, 20)])
def test_relax_any_number_of_sweeps(shape, n_sweeps):
    frames, functional = texture_pair(shape), FUNCTIONALS["robust"]
    flow = random_flow(shape, 1.0)
    expected = relax_reference(frames, flow, flow, functional, n_sweeps)
    for n_bands in (1, 3):
        out = relax(frames, flow, flow, functional, n_sweeps, n_bands=n_bands)
        np.testing.assert_allclose(out, expected, atol=1e-4)


@pytest.mark.parametrize("omega", [1.0, 1.3, 1.8, 1.95, 1.999])
def test_relax_any_omega(omega):
    frames, functional = texture_pair((30, 31)), FUNCTIONALS["robust"]
    flow = random_flow((30, 31), 1.0)
    expected = relax_reference(frames, flow, flow, functional, omega=omega)
    np.testing.assert_allclose(
        relax(frames, flow, flow, functional, omega=omega), expected, atol=1e-4
    )


@pytest.mark.parametrize("max_update", [1e-3, 0.2, np.inf])
def test_relax_stays_near_the_base(max_update):
    shape = 21, 22
    frames, functional = texture_pair(shape, step=(3, 2)), FUNCTIONALS["quadratic"]
    base, flow = random_flow(shape, 1.0, seed=1), random_flow(shape, 1.0, seed=3)
    out = relax(frames, base, flow, functional, max_update=max_update)
    assert np.abs(out - base).max() <= max_update + 1e-6
    expected = relax_reference(frames, base, flow, functional, max_update=max_update)
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_relax_converges_to_the_solution_of_the_sparse_system():
    shape = 23, 18
    frames, functional = texture_pair(shape), FUNCTIONALS["robust"]
    flow = random_flow(shape, 0.5)
    solution = reference.solve(flow, *frames, flow, functional)
    out = relax(frames, flow, flow, functional, n_sweeps=300, omega=1.7, max_update=np.inf)
    np.testing.assert_allclose(out, solution, atol=1e-3)


@pytest.mark.parametrize("functional", ["quadratic", "robust", "non-convex"])
@pytest.mark.parametrize("magnitude", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("name", DEGENERATE)
def test_relax_is_finite(name, magnitude, functional):
    frames, flow = DEGENERATE[name]((17, 30)), random_flow((17, 30), magnitude)
    out = relax(frames, flow, flow, FUNCTIONALS[functional], n_sweeps=10, max_update=1e30)
    assert np.isfinite(out).all()
    expected = relax_reference(
        frames, flow, flow, FUNCTIONALS[functional], n_sweeps=10, max_update=1e30
    )
    assert np.abs(out - expected).max() <= 1e-3 * max(1, np.abs(expected).max())


def test_relax_leaves_a_flow_without_differences_alone():
    # No data, and all neighbours alike: the flow already solves its system.
    flat, flow = np.zeros((18, 18), np.float32), np.full((2, 18, 18), 3.0, np.float32)
    out = relax((flat, flat), flow, flow, FUNCTIONALS["robust"])
    np.testing.assert_allclose(out, flow, rtol=1e-5)


# solve_windows


@pytest.mark.parametrize("radius", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_windows(shape, radius):
    frames, flow = texture_pair(shape), random_flow(shape, 1.5)
    expected, eigenvalue = reference.solve_windows(
        *frames, flow, window_weights(radius), WINDOW_FUNCTIONAL
    )
    out, confidence = solve_windows(frames, flow, radius)
    np.testing.assert_allclose(out, expected, atol=1e-4)
    np.testing.assert_allclose(confidence, eigenvalue, atol=1e-6)


@pytest.mark.parametrize("shape", LONG)
def test_windows_of_long_images(shape):
    frames, flow = texture_pair(shape), random_flow(shape, 1.5)
    expected, eigenvalue = reference.solve_windows(
        *frames, flow, window_weights(3), WINDOW_FUNCTIONAL
    )
    out, confidence = solve_windows(frames, flow)
    np.testing.assert_allclose(out, expected, atol=1e-4)
    np.testing.assert_allclose(confidence, eigenvalue, atol=1e-6)


@pytest.mark.parametrize("gradient", [0.0, 1.0, 10.0])
def test_windows_weight_of_the_gradient(gradient):
    frames, flow = texture_pair((22, 25)), random_flow((22, 25), 1.0)
    functional = WINDOW_FUNCTIONAL._replace(gradient=np.float32(gradient))
    expected, eigenvalue = reference.solve_windows(*frames, flow, window_weights(2), functional)
    out, confidence = solve_windows(frames, flow, 2, functional)
    np.testing.assert_allclose(out, expected, atol=1e-4)
    np.testing.assert_allclose(confidence, eigenvalue, atol=1e-6)


@pytest.mark.parametrize("max_update", [0.01, 1.0, np.inf])
def test_windows_clip_the_update(max_update):
    frames = texture_pair((22, 25), step=(3, 2))
    flow = random_flow((22, 25), 1.0)
    functional = WINDOW_FUNCTIONAL._replace(max_update=np.float32(max_update))
    expected, _ = reference.solve_windows(*frames, flow, window_weights(2), functional)
    out, _ = solve_windows(frames, flow, 2, functional)
    np.testing.assert_allclose(out, expected, atol=3e-4)
    assert np.abs(expected - flow).max() > min(max_update, 1) * 0.999  # some would go further


def test_windows_without_confidence():
    frames, flow = texture_pair((16, 19)), random_flow((16, 19), 1.0)
    out = np.empty_like(flow)
    nowhere = np.empty((0, 0), np.float32)
    cpu.solve_windows(*frames, flow, out, nowhere, window_weights(3), WINDOW_FUNCTIONAL, 2)
    np.testing.assert_array_equal(out, solve_windows(frames, flow)[0])


@pytest.mark.parametrize("magnitude", [0.0, 1.0, 1e6, 1e20])
@pytest.mark.parametrize("name", DEGENERATE)
def test_windows_are_finite(name, magnitude):
    frames, flow = DEGENERATE[name]((17, 30)), random_flow((17, 30), magnitude)
    out, confidence = solve_windows(frames, flow)
    assert np.isfinite(out).all()
    assert np.isfinite(confidence).all() and confidence.min() >= 0
    # A rounding of a huge flow is larger than the greatest update.
    rounding = np.abs(flow).max() * np.finfo(np.float32).eps
    assert np.abs(out - flow).max() <= WINDOW_FUNCTIONAL.max_update + 1e-6 + rounding


def test_windows_without_texture_leave_the_flow_alone():
    flat, flow = np.full((18, 18), 0.5, np.float32), random_flow((18, 18), 2.0)
    out, confidence = solve_windows((flat, flat), flow)
    np.testing.assert_array_equal(out, flow)
    assert confidence.max() < 1e-12  # what rounding leaves of the derivatives


# Bands, threads and the serial form


def run_all(n_bands):
    """Return what every kernel makes of one odd-sized image."""
    shape = 45, 61
    frames, flow = texture_pair(shape), random_flow(shape, 2.0)
    axes = resampling_weights(45, 33, 0.7), resampling_weights(61, 90, 0.0)
    return {
        "resample": (resample(flow, (33, 90), axes, np.float32([2, 0.5])),),
        "warp": (warp(frames[1], flow),),
        "median": (median(flow),),
        "reliability": (reliability(frames, flow),),
        "weighted_median": (weighted_median(frames[0], frames[1], 4 * flow),),
        "relax": tuple(
            relax(frames, flow, flow, functional, n_bands=n_bands)
            for functional in FUNCTIONALS.values()
        ),
        "solve_windows": solve_windows(frames, flow, n_bands=n_bands),
    }


def assert_same_bits(results, others):
    for name, arrays in results.items():
        for array, other in zip(arrays, others[name], strict=True):
            assert array.tobytes() == other.tobytes(), name


@pytest.fixture(scope="module")
def on_one_thread():
    with thread_limit(1):
        return run_all(1)


@pytest.mark.parametrize("n_bands", [2, 3, 4, 7, 44, 45, 60])
def test_bands_do_not_change_a_bit(on_one_thread, n_bands):
    assert_same_bits(run_all(n_bands), on_one_thread)


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_threads_do_not_change_a_bit(on_one_thread, n_jobs):
    with thread_limit(n_jobs) as n_threads:
        assert_same_bits(run_all(n_threads), on_one_thread)


def test_the_serial_form_after_a_fork_does_not_change_a_bit(on_one_thread, monkeypatch):
    monkeypatch.setattr(core_compile._threads, "forked", True)
    assert not cpu.relax.dispatcher.targetoptions["parallel"]
    results = run_all(2)
    # One form may be loaded from the cache and the other compiled here, and so far that tells:
    # see test_cached_code_gives_the_bits_of_compiled_code.
    for array, other in zip(results.pop("solve_windows"), on_one_thread["solve_windows"]):
        np.testing.assert_allclose(array, other, atol=1e-5)
    assert_same_bits(results, on_one_thread)


@pytest.mark.parametrize("n_sweeps", [1, 6, 12])
@pytest.mark.parametrize("height", [16, 17, 40])
def test_bands_thinner_than_the_sweeps_reach(height, n_sweeps):
    frames, flow = texture_pair((height, 18)), random_flow((height, 18), 1.0)
    results = {
        relax(frames, flow, flow, FUNCTIONALS["robust"], n_sweeps, n_bands=n).tobytes()
        for n in (1, 2, 5, height)
    }
    assert len(results) == 1


def test_cached_code_gives_the_bits_of_compiled_code(run_python, tmp_path):
    code = (
        "import hashlib\n"
        "from tests.cpu.test_flow_kernels import random_flow, solve_windows, texture_pair\n"
        "out, _ = solve_windows(texture_pair((45, 61)), random_flow((45, 61), 2.0))\n"
        "print(hashlib.sha256(out.tobytes()).hexdigest())\n"
    )
    compiled, loaded = (run_python(code, FASTMOTION_CACHE_DIR=tmp_path) for _ in range(2))
    assert compiled == loaded


def test_weighted_median_sharpens_a_blurred_boundary():
    frame = np.full((32, 32), 0.2, np.float32)
    frame[:, 16:] = 0.8
    flow = np.zeros((2, 32, 32), np.float32)
    flow[0, :, 15:18] = 1.25, 2.5, 3.75
    flow[0, :, 18:] = 5
    out = np.empty_like(flow)
    cpu.weighted_median(frame, np.ones_like(frame), flow, out)
    np.testing.assert_allclose(out[0, 16, 14:19], [0, 0, 5, 5, 5], atol=0.01)


def test_weighted_median_leaves_smooth_slopes():
    flow = np.zeros((2, 32, 32), np.float32)
    flow[0] = np.float32(0.25) * np.arange(32, dtype=np.float32)[:, None]
    out = np.empty_like(flow)
    cpu.weighted_median(texture((32, 32)), np.ones((32, 32), np.float32), flow, out)
    np.testing.assert_array_equal(out, flow)
