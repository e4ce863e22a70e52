"""Homographies, and distances of matches, on a CUDA device beside those on the CPU."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import is_cuda_array, to_host
from fastmotion.epipolar import (
    DegenerateMatchesWarning,
    FailedFit,
    Homography,
    planar_sampson_distance,
    sampson_distance,
    symmetric_epipolar_distance,
    transfer_distance,
    transform_points,
)
from tests.gpu.arrays import to_device
from tests.reference import homography as reference

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size")]

N = 18 if simulator_enabled() else 3000
FEW = {"max_trials": 4, "random_state": 0} if simulator_enabled() else {"random_state": 0}

OPTIONS = {
    "default": {},
    "auto": {"residual_threshold": "auto", "max_trials": 8},
    "lmeds": {"method": "lmeds", "confidence": 0.2},
    "dlt": {"method": "dlt"},
    "no refinement": {"local_optimization": False},
}


@pytest.fixture(scope="module")
def matches():
    return reference.scene(N, inlier_ratio=0.8, noise=0.3, seed=3)[0]


def fit_on(device, matches, estimator=None, **others):
    estimator = Homography(**FEW) if estimator is None else estimator
    return clone(estimator).set_params(device=device).fit(matches, **others)


def assert_same(got, wanted):
    for name in ("H_", "covariance_", "noise_scale_", "residual_threshold_", "score_"):
        value = getattr(got, name)
        assert isinstance(value, np.ndarray | float)
        np.testing.assert_allclose(value, getattr(wanted, name), rtol=1e-6, atol=1e-10)
    np.testing.assert_array_equal(got.inlier_mask_, wanted.inlier_mask_)
    assert (got.n_trials_, got.degeneracy_) == (wanted.n_trials_, wanted.degeneracy_)


@pytest.mark.parametrize("case", OPTIONS)
def test_fit_is_that_of_the_cpu(device, matches, case):
    estimator = Homography(**{**FEW, **OPTIONS[case]})
    if case == "dlt":
        matches = reference.scene(N, noise=0.3)[0]
    wanted = fit_on("cpu", matches, estimator)
    got = fit_on("cuda", matches, estimator)
    assert wanted.n_inliers_ > N // 2
    assert_same(got, wanted)
    assert (got.device_, wanted.device_) == (str(device), "cpu")


def test_weights_and_qualities(device, matches):
    weight = np.arange(N) % 3.0
    quality = -np.abs(reference.sampson(reference.scene(N, seed=3)[2], matches))
    options = {"sample_weight": weight, "quality": quality}
    assert_same(fit_on("cuda", matches, **options), fit_on("cpu", matches, **options))


def test_fit_of_what_lies_on_the_device(device, matches):
    there = to_device(matches, device)
    got = fit_on("auto", there)
    assert got.device_ == str(device)
    assert_same(got, fit_on("cpu", matches))
    np.testing.assert_array_equal(to_host(there), matches)


def test_few_launches_make_a_fit(device, matches, launches):
    fit_on("cuda", matches)
    kernels = [kernel.name.rpartition(".")[2] for kernel, *_ in launches]
    counts = {name: kernels.count(name) for name in ("_draw", "_score", "_select", "_fit")}
    # Models of samples, the best of them by all matches, the last fit, and what it is worth.
    assert counts == {"_draw": 1, "_score": 1, "_select": 1, "_fit": 4}


def test_batch(device, matches, launches):
    pairs = [matches, reference.scene(17, inlier_ratio=0.9, noise=0.2, seed=4)[0], np.zeros((3, 4))]
    model = Homography(max_trials=4, random_state=0, device="cuda")
    *fits, failed = model.fit_batch(pairs)
    n_draws = sum(kernel.name.endswith("_draw") for kernel, *_ in launches)
    assert n_draws == 1
    for pair, fit in zip(pairs, fits):
        assert_same(fit, fit_on("cpu", pair, model))
        assert fit.device_ == str(device)
    assert isinstance(failed, FailedFit)
    assert "at least 4 matches" in failed.reason


def test_points_on_a_line_determine_no_homography(device):
    x = np.linspace(0, 300, 14)
    line = np.stack([x, 0.5 * x, 1.1 * x, 0.6 * x], axis=1)
    estimator = Homography(max_trials=4, random_state=0)
    fits = []
    for where in ("cpu", "cuda"):
        with pytest.warns(DegenerateMatchesWarning):
            fits.append(fit_on(where, line, estimator))
    assert_same(fits[1], fits[0])
    assert fits[1].degeneracy_ == "points"
    assert np.isinf(fits[1].covariance_).all()


def test_errors_are_those_of_the_cpu(device, matches):
    bad = matches.copy()
    bad[3, 1] = np.nan
    texts = []
    for where, X in (("cpu", bad), ("cuda", bad), ("auto", to_device(bad, device))):
        with pytest.raises(ValueError, match="X must be finite") as info:
            fit_on(where, X)
        texts.append(str(info.value))
    assert len(set(texts)) == 1
    with pytest.raises(TypeError, match="lies on a CUDA device"):
        fit_on("cpu", to_device(matches, device))


@pytest.fixture(scope="module")
def fitted(matches):
    return Homography(random_state=0, device="auto").fit(matches)


def test_matches_on_the_device_are_measured_there(device, matches, fitted):
    there = to_device(matches, device)
    distances = fitted.score_samples(there)
    assert is_cuda_array(distances)
    np.testing.assert_allclose(to_host(distances), fitted.score_samples(matches), rtol=1e-9)
    is_inlier = fitted.predict(there)
    assert is_cuda_array(is_inlier)
    np.testing.assert_array_equal(to_host(is_inlier), fitted.predict(matches))
    assert fitted.score(there) == pytest.approx(fitted.score(matches), rel=1e-9)
    np.testing.assert_allclose(
        clone(fitted).set_params(device="cuda").fit(matches).score_samples(matches),
        fitted.score_samples(matches), rtol=1e-6, atol=1e-9,
    )  # fmt: skip


def test_points_on_the_device_are_mapped_there(device, matches, fitted):
    points = matches[:, :2]
    there = to_device(np.ascontiguousarray(points), device)
    for function in (fitted.transform, fitted.inverse_transform):
        mapped = function(there)
        assert is_cuda_array(mapped)
        np.testing.assert_allclose(to_host(mapped), function(points), rtol=1e-12)
    on_cuda = pickle.loads(pickle.dumps(fitted)).set_params(device="cuda")
    mapped = on_cuda.transform(points)
    assert isinstance(mapped, np.ndarray)
    np.testing.assert_allclose(mapped, fitted.transform(points), rtol=1e-12)
    with pytest.raises(ValueError, match=r"points must have shape \(n, 2\)"):
        fitted.transform(to_device(matches, device))
    bad = points.copy()
    bad[2] = np.inf
    with pytest.raises(ValueError, match="points must be finite .* row 2"):
        fitted.transform(to_device(bad, device))


def test_functions_follow_their_input(device, matches):
    there = to_device(matches, device)
    H = reference.scene(N, seed=3)[2]
    F = np.array([[0.0, -1e-3, 0.2], [1.5e-3, 0.0, -1.0], [-0.3, 1.1, 3.0]])
    for function, model in (
        (planar_sampson_distance, H),
        (sampson_distance, F),
        (symmetric_epipolar_distance, F),
    ):
        distances = function(model, there)
        assert is_cuda_array(distances)
        np.testing.assert_allclose(to_host(distances), function(model, matches), rtol=1e-9)
    points = np.ascontiguousarray(matches[:, :2])
    mapped = transform_points(H, to_device(points, device))
    np.testing.assert_allclose(to_host(mapped), transform_points(H, points), rtol=1e-12)
    with pytest.raises(TypeError, match="matches lies on a CUDA device.* copy it to the host"):
        transfer_distance(H, there)


def test_pickles_hold_no_arrays_of_the_device(device, matches, fitted):
    on_cuda = fit_on("cuda", matches)
    again = pickle.loads(pickle.dumps(on_cuda)).set_params(device="cpu")
    np.testing.assert_array_equal(again.predict(matches), on_cuda.inlier_mask_)
