"""`FundamentalMatrix` on a CUDA device against the CPU."""

import pickle

import numpy as np
import pytest

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import is_cuda_array, to_host
from fastmotion.core.memory import CudaMemory
from fastmotion.datasets import make_two_view
from fastmotion.epipolar import (
    DegenerateMatchesWarning,
    FailedFit,
    FundamentalMatrix,
    degeneracy,
    polishing,
)
from tests.gpu.arrays import to_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Grid size"),
    # The simulator computes with NumPy's numbers, which warn where those of devices do not.
    pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value", "ignore:overflow"),
]

N_TRIALS = 8 if simulator_enabled() else 2000
FEW = {"max_trials": N_TRIALS, "degeneracy": "ignore", "random_state": 0}


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    """Let the last refinement end early where each barrier takes milliseconds, on the CPU, too."""
    if simulator_enabled():
        monkeypatch.setattr(polishing, "_MOST_ROUNDS", 1)


def matches_of(n=33, seed=0, inlier_ratio=0.95):
    view = make_two_view(n_matches=n, inlier_ratio=inlier_ratio, random_state=seed)
    return view.matches


MATCHES = matches_of()
RNG = np.random.default_rng(0)
WEIGHT, QUALITY = RNG.uniform(0.5, 1.5, len(MATCHES)), RNG.uniform(0, 1, len(MATCHES))
WEIGHT[3] = 0.0

CASES = {
    "ransac": ({}, {}),
    "eight points, progressive": (
        {"minimal": "eight_point", "max_trials": 4 * N_TRIALS}, {"quality": QUALITY}
    ),
    "any threshold": ({"residual_threshold": "auto"}, {"sample_weight": WEIGHT}),
    "median": ({"method": "lmeds"}, {}),
    "no refinement": ({"local_optimization": False}, {}),
    "all by eight points": ({"method": "eight_point"}, {"sample_weight": WEIGHT}),
    "all by seven points": ({"method": "seven_point"}, {}),
}  # fmt: skip


def assert_same_fit(model, wanted):
    np.testing.assert_allclose(model.F_, wanted.F_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(model.weights_, wanted.weights_, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(model.inlier_mask_, wanted.inlier_mask_)
    for name in ("score_", "noise_scale_", "residual_threshold_"):
        assert getattr(model, name) == pytest.approx(getattr(wanted, name), rel=1e-6)
    assert model.n_trials_ == wanted.n_trials_
    assert model.degeneracy_ == wanted.degeneracy_


@pytest.mark.parametrize("case", CASES)
def test_fits_are_those_of_the_cpu(device, case):
    options, data = CASES[case]
    model = FundamentalMatrix(**{**FEW, "residual_threshold": 3.0, **options}, device="cuda")
    model.fit(MATCHES, **data)
    wanted = FundamentalMatrix(**{**FEW, "residual_threshold": 3.0, **options})
    wanted.fit(MATCHES, **data)
    assert (model.device_, wanted.device_) == ("cuda:0", "cpu")
    assert wanted.n_inliers_ > 5
    assert_same_fit(model, wanted)


def test_planes_are_handled(device, monkeypatch):
    if simulator_enabled():
        for name, few in {
            "_PLANE_TRIALS": 8, "_N_DIRECTIONS": 5, "_N_PAIRS": 2, "_N_PAIRS_OFF": 2,
            "_N_LISTED": 3, "_N_REFINED": 1,
        }.items():  # fmt: skip
            monkeypatch.setattr(degeneracy, name, few)
    matches = make_two_view("planar", n_matches=30, inlier_ratio=0.95, random_state=1).matches
    options = {**FEW, "residual_threshold": 3.0, "degeneracy": "handle"}
    model, wanted = FundamentalMatrix(**options, device="cuda"), FundamentalMatrix(**options)
    for estimator in (model, wanted):
        with pytest.warns(DegenerateMatchesWarning, match="'plane'"):
            estimator.fit(matches)
    assert_same_fit(model, wanted)


def test_a_batch_is_as_its_pairs_alone(device, launches):
    pairs = [matches_of(n, seed) for seed, n in enumerate((16, 21, 18))]
    pairs[1:1] = [MATCHES[:5], np.full((20, 4), np.nan)]
    weights = [WEIGHT[:16], None, None, WEIGHT[:21], None]
    estimator = FundamentalMatrix(**{**FEW, "max_trials": 4}, device="cuda")
    found = estimator.fit_batch(pairs, sample_weight=weights)
    n_together = len(launches)
    assert [isinstance(fit, FailedFit) for fit in found] == [False, True, True, False, False]
    assert "at least 7" in found[1].reason
    assert "finite" in found[2].reason
    most = 0
    for pair, weight, fit in zip(pairs, weights, found):
        if fit:
            launches.clear()
            alone = FundamentalMatrix(**{**FEW, "max_trials": 4}, device="cuda")
            alone.fit(pair, sample_weight=weight)
            most = max(most, len(launches))
            for name in ("F_", "weights_", "inlier_mask_", "covariance_"):
                np.testing.assert_array_equal(getattr(fit, name), getattr(alone, name))
            assert fit.score_ == alone.score_
            assert fit.device_ == "cuda:0"
    assert n_together <= 1.5 * most  # not three times as many


def test_errors_of_the_device_are_raised(device, monkeypatch):
    def fails(self, shape, dtype=np.float32):
        raise MemoryError("no memory is left")

    monkeypatch.setattr(CudaMemory, "new", fails)
    with pytest.raises(MemoryError, match="no memory is left"):
        FundamentalMatrix(**FEW, device="cuda").fit_batch([MATCHES, MATCHES])
    with pytest.raises(MemoryError, match="no memory is left"):
        FundamentalMatrix(**FEW, device="cuda").fit(MATCHES)


@pytest.fixture(scope="module")
def fitted():
    return FundamentalMatrix(
        "eight_point", residual_threshold=1.0, degeneracy="ignore", device="auto"
    ).fit(MATCHES)


def test_matches_on_a_device_are_fitted_there(device, fitted):
    model = FundamentalMatrix("eight_point", degeneracy="ignore", device="auto")
    model.fit(to_device(MATCHES, device), sample_weight=to_device(np.ones(len(MATCHES)), device))
    assert model.device_ == "cuda:0"
    assert_same_fit(model, fitted)
    (other,) = model.fit_batch([to_device(MATCHES, device)])
    assert other.device_ == "cuda:0"
    assert_same_fit(other, fitted)
    with pytest.raises(TypeError, match="device"):
        FundamentalMatrix(device="cpu").fit(to_device(MATCHES, device))


def test_fits_are_pickled_without_a_device(device, fitted):
    model = FundamentalMatrix("eight_point", degeneracy="ignore", device="cuda").fit(MATCHES)
    again = pickle.loads(pickle.dumps(model))
    for name, value in vars(again).items():
        assert not is_cuda_array(value), name
    np.testing.assert_array_equal(again.F_, model.F_)
    assert again.set_params(device="cpu").score(MATCHES) == pytest.approx(model.score_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_stay_on_the_device(device, fitted, dtype):
    given = MATCHES.astype(dtype)
    on_device = to_device(given, device)
    distances = fitted.score_samples(on_device)
    is_inlier = fitted.predict(on_device)
    assert is_cuda_array(distances)
    assert is_cuda_array(is_inlier)
    np.testing.assert_allclose(to_host(distances), fitted.score_samples(given), rtol=1e-9)
    assert to_host(is_inlier).dtype == bool
    np.testing.assert_array_equal(to_host(is_inlier), fitted.predict(given))
    assert fitted.score(on_device) == pytest.approx(fitted.score(given))


def test_predictions_of_host_matches_come_back_to_the_host(device, fitted):
    model = pickle.loads(pickle.dumps(fitted)).set_params(device="cuda")
    distances = model.score_samples(MATCHES)
    assert isinstance(distances, np.ndarray)
    np.testing.assert_allclose(distances, fitted.score_samples(MATCHES), rtol=1e-9)
    np.testing.assert_array_equal(model.predict(MATCHES), fitted.predict(MATCHES))


def test_points_of_both_images_on_the_device(device):
    points = [np.ascontiguousarray(part) for part in (MATCHES[:, :2], MATCHES[:, 2:])]
    model = FundamentalMatrix("eight_point", degeneracy="ignore", device="auto").fit(*points)
    distances = model.score_samples(*(to_device(part, device) for part in points))
    np.testing.assert_allclose(to_host(distances), model.score_samples(*points), rtol=1e-9)


def test_matches_on_a_device_are_checked_there(device, fitted):
    broken = MATCHES.copy()
    broken[4, 1], broken[9, 3] = np.nan, 1e31
    with pytest.raises(ValueError, match="2 of 33 rows that are not, the first of them row 4"):
        fitted.score_samples(to_device(broken, device))
    with pytest.raises(ValueError, match=r"must have shape \(n, 4\)"):
        fitted.predict(to_device(MATCHES[:, :3].copy(), device))
    with pytest.raises(ValueError, match="at least one match"):
        fitted.score(to_device(MATCHES[:0], device))
    omits = pickle.loads(pickle.dumps(fitted)).set_params(nan_policy="omit")
    distances = to_host(omits.score_samples(to_device(broken, device)))
    np.testing.assert_allclose(distances, omits.score_samples(broken), rtol=1e-9)
    assert np.flatnonzero(np.isnan(distances)).tolist() == [4, 9]
    assert omits.score(to_device(broken, device)) == pytest.approx(omits.score(broken))
