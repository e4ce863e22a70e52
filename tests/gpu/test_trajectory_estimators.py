"""Motion kernels, their choice and their banks on a CUDA device, against the CPU."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import is_cuda_array, to_host
from fastmotion.core.memory import CudaMemory
from fastmotion.trajectory import (
    LinearMotionPredictor,
    MotionKernel,
    MotionKernelBank,
    MotionKernelCV,
    _motion_kernel,
    interpolate_gaps,
)
from tests.gpu.arrays import to_device

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size")]

SHAPE = (3, 12, 2, 1) if simulator_enabled() else (20, 300, 5, 3)


@pytest.fixture
def X(rng):
    X = rng.normal(size=SHAPE).cumsum(axis=1).astype(np.float32)
    X[0, 5, 1] = np.nan
    return X


def fit_all(estimator, device, X, *args, **kwargs):
    """Return the estimator fitted on the CPU, and on the device to host and device arrays."""
    on_device = [
        [to_device(value, device) for value in values] for values in ((X, *args), kwargs.values())
    ]
    fitted = [
        estimator(device=where).fit(*args_, **kwargs_)
        for where, args_, kwargs_ in (
            ("cpu", (X, *args), kwargs),
            ("cuda", (X, *args), kwargs),
            ("auto", on_device[0], dict(zip(kwargs, on_device[1]))),
        )
    ]
    for other in fitted[1:]:
        np.testing.assert_allclose(other.coef_, fitted[0].coef_, rtol=1e-6, atol=1e-8)
        assert isinstance(other.coef_, np.ndarray)
    return fitted


def assert_same_outputs(fitted, device, X, **kwargs):
    """Compare what fitted estimators give; arrays on the device give arrays on it."""
    wanted = fitted[0].transform(X, **kwargs)
    on_host = fitted[1].transform(X, **kwargs)
    there = {name: to_device(value, device) for name, value in kwargs.items()}
    from_device = fitted[2].transform(to_device(X, device), **there)
    assert is_cuda_array(from_device)
    for got in on_host, to_host(from_device):
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


PLAIN = {"residual": True, "solver": "gradient"}  # without a pass that corrects the rounding
KERNELS = {
    "joint": {"sharing": "joint", "fit_intercept": True, "edges": "valid", **PLAIN},
    "noise": {"noise": "auto", "causal": False, "target": "position", "n_taps": 3},
    "refit": {"alpha": 0.1, "n_taps": 3},
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_those_of_the_cpu(device, X, name):
    fitted = fit_all(lambda device: MotionKernel(device=device, **KERNELS[name]), device, X)
    assert [kernel.device_ for kernel in fitted] == ["cpu", "cuda:0", "cuda:0"]
    assert_same_outputs(fitted, device, X)
    scores = [fitted[i].score(given) for i, given in ((0, X), (1, X), (2, to_device(X, device)))]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-5)
    assert pickle.loads(pickle.dumps(fitted[2])).transform(X).shape[0] == len(X)


@pytest.fixture
def two_reweightings(monkeypatch):
    monkeypatch.setattr(_motion_kernel, "_MAX_REWEIGHTINGS", 2)


@pytest.mark.filterwarnings("ignore:the Huber loss still changed")
def test_outliers_weigh_less(device, X, rng, two_reweightings):
    X[1, 4] += 50
    weights = rng.random(SHAPE[:2])
    weights[2, 3] = 0
    kernel = MotionKernel(2, loss="huber", sharing="joint")
    fitted = fit_all(
        lambda device: clone(kernel).set_params(device=device), device, X, sample_weight=weights
    )
    squared = clone(kernel).set_params(loss="squared").fit(X, sample_weight=weights)
    assert np.abs(squared.coef_ - fitted[0].coef_).max() > 0.01


def test_sums_that_are_ill_conditioned_are_corrected(device, rng, monkeypatch):
    monkeypatch.setattr(_motion_kernel, "_MAX_REFINEMENTS", 1)
    X = rng.normal(size=(2, 20, 1, 1)).cumsum(axis=1).cumsum(axis=1).cumsum(axis=1) + 1e3
    fit_all(lambda device: MotionKernel(4, device=device), device, X)


def test_targets_weights_and_confidences(device, X, rng):
    y = (2 * X + rng.normal(size=SHAPE)).astype(np.float32)
    trust = rng.random(SHAPE[:3])
    trust[1, 2, 0] = np.nan
    fitted = fit_all(
        lambda device: MotionKernel(2, **PLAIN, device=device), device, X, y,
        sample_weight=rng.random(SHAPE[:2]), confidence=trust,
    )  # fmt: skip
    assert_same_outputs(fitted, device, X, confidence=trust)


def test_parts_go_on_and_merge(device, X):
    whole = MotionKernel(2, **PLAIN).fit(X)
    parts = MotionKernel(2, **PLAIN, device="auto")
    parts.partial_fit(to_device(X[:, :7], device))
    parts.partial_fit(to_device(np.ascontiguousarray(X[:, 7:]), device), continued=True)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9)
    merged = MotionKernel(2, **PLAIN, device="auto").fit(to_device(X[:1], device))
    merged.merge(MotionKernel(2, **PLAIN).fit(X[1:]))
    np.testing.assert_allclose(merged.coef_, whole.coef_, rtol=1e-9)


def test_lists_and_other_axes(device, X):
    kernel = MotionKernel(2, **PLAIN).fit(X)
    ragged = [X[0], X[1, :7], X[2, :3]]
    given = [to_device(np.ascontiguousarray(x), device) for x in ragged]
    kernel.set_params(device="auto")
    for got, wanted in zip(kernel.transform(given), kernel.transform(ragged), strict=True):
        assert is_cuda_array(got)
        np.testing.assert_allclose(to_host(got), wanted, rtol=1e-4, atol=1e-4)
    axes = ("joint", "sequence", "frame")
    kernel.set_params(axes=axes)
    turned = np.ascontiguousarray(X[..., 0].transpose(2, 0, 1))
    got = kernel.transform(to_device(turned, device))
    np.testing.assert_allclose(to_host(got), kernel.transform(turned), rtol=1e-4, atol=1e-4)
    assert tuple(got.shape) == turned.shape


def test_choice_among_kernels(device, X):
    fitted = fit_all(
        lambda device: MotionKernelCV(
            MotionKernel(device=device), n_taps=(2, 3), sharing=("all", "joint")
        ),
        device, X,
    )  # fmt: skip
    for search in fitted:
        assert search.best_params_ == fitted[0].best_params_
        np.testing.assert_allclose(search.best_loss_, fitted[0].best_loss_, rtol=1e-6)


BANKS = {
    "valid": {"scales": (2, 3), "fixed": ("velocity",), "edges": "valid"},
    "class": {"learned": "class", "scales": (3,)},
    "pooled": {
        "scales": (2, 3),
        "pooling": ("mean", "std", "min", "max", "energy"),
        "pyramid": (1, 2),
    },
}


@pytest.mark.parametrize("name", BANKS)
def test_banks(device, X, name):
    y = np.arange(len(X)) % 2
    fitted = [
        MotionKernelBank(**BANKS[name], device=where).fit(given, y)
        for where, given in (("cpu", X), ("cuda", X), ("auto", to_device(X, device)))
    ]
    for bank in fitted[1:]:
        for (_, weights), (_, wanted) in zip(bank.kernels_, fitted[0].kernels_, strict=True):
            np.testing.assert_allclose(weights, wanted, rtol=1e-6, atol=1e-8)
    assert_same_outputs(fitted, device, X)


def test_features_without_a_value_are_filled_and_told_of(device, X, caplog):
    X[1, :, 0] = np.nan
    bank = MotionKernelBank((2,), pooling="max", fill_value=-7.0).fit(X)
    wanted = bank.transform(X)
    got = bank.set_params(device="auto").transform(to_device(X, device))
    np.testing.assert_allclose(to_host(got), wanted, rtol=1e-5)
    assert (wanted == -7).sum() == SHAPE[3]
    first, second = (record.getMessage() for record in caplog.records)
    assert first == second
    assert "1 of" in first


def test_frames_that_do_not_fit_go_up_in_parts(device, X, monkeypatch):
    kernel = MotionKernel(2, **PLAIN, device="cuda")
    bank = MotionKernelBank((2,), pooling="mean", device="cuda")
    whole = kernel.fit(X).transform(X), bank.fit(X).transform(X), kernel.coef_
    monkeypatch.setattr(CudaMemory, "budget", lambda memory, share=0.5: 1500)
    parts = kernel.fit(X).transform(X), bank.fit(X).transform(X), kernel.coef_
    for got, wanted in zip(parts, whole):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.filterwarnings("ignore:the Huber loss still changed")
def test_host_frames_go_up_once_for_a_fit_of_many_passes(device, X, monkeypatch, two_reweightings):
    sizes = []
    put = CudaMemory.put

    def spy(memory, array):
        if not is_cuda_array(array):
            sizes.append(np.size(array))
        return put(memory, array)

    monkeypatch.setattr(CudaMemory, "put", spy)
    assert MotionKernel(2, loss="huber", device="cuda").fit(X).n_iter_ == 2
    frame_sized = X.size // SHAPE[2] // SHAPE[3]
    assert sum(size >= frame_sized for size in sizes) <= 2  # the frames, and one weight for each


def test_errors_are_those_of_the_cpu(device, X):
    there = to_device(X, device)
    kernel = MotionKernel(2, **PLAIN, device="auto").fit(there)
    with pytest.raises(ValueError, match="X must have 2 joints of 1 coordinates as in fit"):
        kernel.transform(to_device(np.zeros((1, 5, 3, 1)), device))
    with pytest.raises(TypeError, match="real numbers.*complex"):
        kernel.transform(to_device(np.zeros((1, 5, 2, 1), complex), device))
    with pytest.raises(ValueError, match="confidence must lie in"):
        kernel.transform(there, to_device(np.full(SHAPE[:3], 1.5), device))
    with pytest.raises(ValueError, match="sample_weight must be finite and not negative"):
        kernel.fit(there, sample_weight=to_device(np.full(SHAPE[:2], -1.0), device))
    X[:, :, 0] = np.nan
    with pytest.raises(ValueError, match=r"only NaN for joint\(s\) \[0\]; leave them out"):
        kernel.fit(to_device(X, device))
    with pytest.raises(TypeError, match="lies on a CUDA device"):
        kernel.set_params(device="cpu").fit(there)


def test_what_works_on_the_host_says_so(device, X):
    there = to_device(X, device)
    with pytest.raises(RuntimeError, match="interpolate_gaps works on the host.*copy it"):
        interpolate_gaps(there)
    with pytest.raises(RuntimeError, match="LinearMotionPredictor works on the host.*copy it"):
        LinearMotionPredictor().fit([there])
