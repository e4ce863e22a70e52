"""The estimators and functions of dense flow on a CUDA device, and where there is none."""

import numpy as np
import pytest
from sklearn.base import clone

from fastmotion import config_context
from fastmotion.core import device as core_device
from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import is_cuda_array, to_host
from fastmotion.core.memory import CudaMemory
from fastmotion.flow import (
    HornSchunck,
    LucasKanade,
    forward_backward_error,
    frames,
    image_derivatives,
    warp,
)
from tests.gpu.arrays import to_device
from tests.reference.flow_cases import random_flow, texture, texture_pair

CLIPS = np.zeros((1, 2, 16, 16), np.uint8)
CALLS = {
    "estimate": lambda estimator: estimator.estimate(*CLIPS[0]),
    "fit": lambda estimator: estimator.fit(CLIPS),
    "transform": lambda estimator: estimator.transform(CLIPS),
}


@pytest.fixture
def no_device(monkeypatch):
    monkeypatch.setattr(core_device, "cuda_unavailable_reason", lambda: "the cause; the cure")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("method", [LucasKanade, HornSchunck])
def test_missing_device_is_an_error_with_cause_and_cure(no_device, method, call):
    estimator = method(device="cuda")
    with pytest.raises(RuntimeError, match="'cuda' is not available: the cause; the cure"):
        CALLS[call](estimator)
    assert not hasattr(estimator, "device_")
    with (
        config_context(device="cuda:0"),
        pytest.raises(RuntimeError, match="'cuda:0' is not available"),
    ):
        CALLS[call](method())


def test_missing_device_is_named_without_a_stand_in(run_python):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    # An empty list of visible devices hides those that there may be.
    out = run_python(
        """
import numpy as np
from fastmotion.flow import HornSchunck, LucasKanade
for method in LucasKanade, HornSchunck:
    for call, *frames in (("estimate", *np.zeros((2, 16, 16))), ("fit", np.zeros((1, 2, 16, 16)))):
        try:
            getattr(method(device="cuda"), call)(*frames)
        except RuntimeError as error:
            print(error)
""",
        CUDA_VISIBLE_DEVICES="",
        NUMBA_ENABLE_CUDASIM=None,
    )
    assert out.count("device='cuda' is not available: no CUDA device was found (") == 4
    assert out.count("install an NVIDIA driver") == out.count("pass device='cpu'") == 4


# On a device, or in the simulator: one level of half the size, where threads are dear.


def on_a_device(test):
    """Mark a test that needs one; small images do not occupy it, of which Numba warns."""
    return pytest.mark.gpu(pytest.mark.filterwarnings("ignore:Grid size")(test))


SHAPE = (17, 16)
QUICK = {"n_warps": 1, "n_levels": 1, "finest_scale": 1}
METHODS = {
    "Lucas-Kanade": LucasKanade(**QUICK),
    "Lucas-Kanade, best": LucasKanade.from_preset("best", **QUICK),
    "Horn-Schunck": HornSchunck(n_sweeps=2, **QUICK),
    "Horn-Schunck, non-convex": HornSchunck(
        exponent=0.45, n_sweeps=11, prefilter_sigma=0.0, **QUICK
    ),
    "Horn-Schunck, textbook": HornSchunck.from_preset("textbook", n_sweeps=2, finest_scale=1),
}
if not simulator_enabled():
    SHAPE = (241, 320)
    METHODS = {
        f"{method.__name__}, {preset}": method.from_preset(preset)
        for method in (LucasKanade, HornSchunck)
        for preset in ("fast", "medium", "default", "best", "textbook")
    }


def clips(dtype=np.uint8, n_clips=1, n_frames=3):
    frames = [
        texture_pair(SHAPE, seed=i, step=(0.4 * k, 0.3 * k))[1]
        for i in range(n_clips)
        for k in range(n_frames)
    ]
    return (255 * np.clip(frames, 0, 1)).astype(dtype).reshape(n_clips, n_frames, *SHAPE)


def on(device, estimator):
    return clone(estimator).set_params(device=str(device))


def assert_close(got, wanted):
    """Rounding apart: where a penalty or a median tips over, a pixel may differ by more."""
    difference = np.abs(got - wanted)
    assert np.quantile(difference, 0.99) < 1e-4
    assert np.isfinite(difference).all() and difference.mean() < 1e-4


@on_a_device
@pytest.mark.parametrize("name", METHODS)
def test_flow_is_that_of_the_cpu(device, name):
    frame0, frame1 = clips(n_frames=2)[0]
    wanted = METHODS[name].estimate(frame0, frame1)
    assert np.abs(wanted).max() > 0.1
    got = on(device, METHODS[name]).estimate(frame0, frame1)
    assert type(got) is np.ndarray and got.dtype == np.float32
    assert_close(got, wanted)


@on_a_device
def test_arrays_on_the_device_stay_there(device, monkeypatch):
    frames = [np.dstack([frame] * 3).astype(np.float64) for frame in clips(n_frames=2)[0]]
    initial = np.full((*SHAPE, 2), 0.3)
    estimator = METHODS["Lucas-Kanade" if simulator_enabled() else "LucasKanade, default"]
    wanted = estimator.estimate(*frames, initial_flow=initial, return_confidence=True)
    there = [to_device(x, device) for x in (*frames, initial)]
    fetched = []
    fetch = CudaMemory.fetch
    monkeypatch.setattr(
        CudaMemory, "fetch", lambda self, x: fetched.append(x.size) or fetch(self, x)
    )
    got = clone(
        estimator
    ).estimate(  # the device is that of the frames
        *there[:2], initial_flow=there[2], return_confidence=True
    )
    # The extremes of the flow and of the frames, and no more.
    assert len(fetched) == 2 and max(fetched) <= 2 * 2 * 64
    for result, array in zip(got, wanted):
        assert is_cuda_array(result)
        assert_close(to_host(result), array)
    for array, given in zip(there, (*frames, initial)):
        np.testing.assert_array_equal(to_host(array), given)


@on_a_device
@pytest.mark.parametrize(("dtype", "anywhere"), [(np.uint8, "host"), (np.float32, "device")])
def test_clips_go_through_in_parts(device, monkeypatch, dtype, anywhere):
    X = clips(dtype, n_clips=2)
    name = "Lucas-Kanade" if simulator_enabled() else "HornSchunck, default"
    given = X if anywhere == "host" else to_device(X, device)
    fitted = on(device, METHODS[name]).fit(given)
    assert (fitted.device_, fitted.frame_shape_) == ("cuda:0", SHAPE)
    monkeypatch.setattr(frames, "_MOST_PAIRS", 3)  # the first part ends within a clip
    got = fitted.transform(given)
    assert type(got) is type(given)
    assert_close(to_host(got), METHODS[name].transform(X))
    for i in range(2):  # whatever the parts
        alone = fitted.estimate(X[1, i], X[1, i + 1])
        np.testing.assert_array_equal(to_host(got)[1, i], alone)


@on_a_device
@pytest.mark.parametrize("name", ["Lucas-Kanade", "Horn-Schunck"])
def test_little_memory_changes_nothing(device, monkeypatch, name):
    estimator = {
        "Lucas-Kanade": LucasKanade(window_size=3, **QUICK),
        "Horn-Schunck": HornSchunck(n_sweeps=1, **QUICK),
    }[name]
    X = clips(n_frames=2)
    wanted = on(device, estimator).transform(X)
    monkeypatch.setattr(CudaMemory, "budget", lambda self, share=0.5: 1000)
    np.testing.assert_array_equal(on(device, estimator).transform(X), wanted)


@on_a_device
@pytest.mark.filterwarnings("ignore:.*overflow encountered in cast")  # of the simulator's NumPy
@pytest.mark.parametrize("anywhere", ["host", "device"])
def test_errors_are_those_of_the_cpu(device, anywhere):
    def place(x):
        return to_device(x, device) if anywhere == "device" else x

    estimator = LucasKanade(device=str(device), **QUICK)
    good = clips(np.float32)[0, 0]
    bad = {value: good.copy() for value in (np.nan, -np.inf)}
    for value, frame in bad.items():
        frame[3, 4] = value
    narrow = good[:, :9].copy()
    flow = np.zeros((*SHAPE, 2), np.float32)
    cases = [
        (good, bad[np.nan], None),
        (bad[-np.inf], good, None),
        (good, np.uint8(good), None),
        (narrow, narrow, None),
        (good, good.T.copy(), None),
        (good.astype(complex), good, None),
        (3e38 * np.ones_like(good), -3e38 * np.ones_like(good), None),
        (good, good, np.full_like(flow, np.nan)),
        (good, good, np.full(flow.shape, 1e39)),
        (good, good, flow[:-1].copy()),
    ]
    for frame0, frame1, initial in cases:
        with pytest.raises((TypeError, ValueError)) as wanted:
            LucasKanade(**QUICK).estimate(frame0, frame1, initial_flow=initial)
        with pytest.raises((TypeError, ValueError)) as got:
            estimator.estimate(
                place(frame0),
                place(frame1),
                initial_flow=None if initial is None else place(initial),
            )
        assert (got.type, str(got.value)) == (wanted.type, str(wanted.value))
    with pytest.raises(ValueError, match="frame0 must be finite") as got:
        estimator.transform(place(np.stack([[good, good], [bad[np.nan], good]])))
    assert got.value.__notes__ == ["frame0 and frame1 are frames 0 and 1 of clip 1"]
    for shape in ((3, *SHAPE), (1, 1, *SHAPE), (1, 2, *SHAPE, 2)):
        with pytest.raises(ValueError) as wanted:
            LucasKanade().transform(np.zeros(shape))
        with pytest.raises(ValueError) as got:
            estimator.transform(place(np.zeros(shape)))
        assert str(got.value) == str(wanted.value)


@on_a_device
def test_constant_frames_do_not_move(device):
    still = np.full(SHAPE, 7.5)
    np.testing.assert_array_equal(
        LucasKanade(device=str(device), **QUICK).estimate(still, still), 0
    )


@on_a_device
def test_dtypes_that_kernels_do_not_know(device):
    pair = clips(n_frames=2)[0]
    for dtype in (np.int64, np.float16):
        got = LucasKanade(device=str(device), **QUICK).estimate(*pair.astype(dtype))
        wanted = LucasKanade(**QUICK).estimate(*pair.astype(dtype))
        np.testing.assert_allclose(got, wanted, atol=1e-3)


# Functions that follow their input


@on_a_device
@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 3)])
def test_warp_follows_its_input(device, shape):
    image = texture(shape)
    flow = np.moveaxis(random_flow(shape[:2], 3.0), 0, -1).copy()
    for fill_value in (None, np.nan):
        wanted = warp(image, flow, fill_value=fill_value)
        got = warp(to_device(image, device), flow, fill_value=fill_value)
        assert is_cuda_array(got)
        np.testing.assert_allclose(to_host(got), wanted, atol=1e-5)
    with pytest.raises(ValueError, match="crop or resize one"):
        warp(image, to_device(flow[1:].copy(), device))


@on_a_device
def test_forward_backward_error_follows_its_input(device):
    there, back = (np.moveaxis(random_flow((9, 11), 2.0, seed), 0, -1).copy() for seed in (0, 7))
    wanted = forward_backward_error(there, back)
    assert np.isnan(wanted).any()
    got = forward_backward_error(to_device(there, device), to_device(back, device))
    assert is_cuda_array(got)
    np.testing.assert_allclose(to_host(got), wanted, atol=1e-5)


@on_a_device
@pytest.mark.parametrize("stencil", ["horn_schunck", "barron", "farid_simoncelli"])
def test_derivatives_follow_their_input(device, stencil):
    frame0, frame1 = np.uint8(255 * texture((2, 16, 16)))
    wanted = image_derivatives(frame0, frame1, stencil=stencil)
    got = image_derivatives(to_device(frame0, device), frame1, stencil=stencil)
    for result, array in zip(got, wanted):
        assert is_cuda_array(result)
        np.testing.assert_allclose(to_host(result), array, atol=1e-3)


@on_a_device
def test_results_of_one_call_are_not_changed_by_the_next(device):
    frame0, frame1 = clips(n_frames=2)[0]
    estimator = LucasKanade(device=str(device), **QUICK)
    there = [to_device(x, device) for x in (frame0, frame1)]
    flow = estimator.estimate(*there)
    before = to_host(flow).copy()
    estimator.estimate(*there[::-1])
    np.testing.assert_array_equal(to_host(flow), before)
