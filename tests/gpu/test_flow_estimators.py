"""What the estimators of dense flow do when asked for a CUDA device; none is needed to know."""

import inspect

import numpy as np
import pytest

from fastmotion import config_context
from fastmotion.core import device as core_device
from fastmotion.flow import HornSchunck, LucasKanade
from fastmotion.flow.kernels import kernels_for

CLIPS = np.zeros((1, 2, 16, 16), np.uint8)
CALLS = {
    "estimate": lambda estimator: estimator.estimate(*CLIPS[0]),
    "fit": lambda estimator: estimator.fit(CLIPS),
    "transform": lambda estimator: estimator.transform(CLIPS),
}


@pytest.fixture
def one_device(monkeypatch):
    monkeypatch.setattr(core_device, "_require_cuda", lambda name, index: None)


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


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("method", [LucasKanade, HornSchunck])
def test_present_device_is_refused_and_not_replaced_by_the_cpu(one_device, method, call):
    estimator = method(device="cuda")
    with pytest.raises(RuntimeError, match="runs on the CPU in this version.*pass device='cpu'"):
        CALLS[call](estimator)
    assert not hasattr(estimator, "device_")
    CALLS[call](estimator.set_params(device="cpu"))


@pytest.mark.parametrize("name", ["relax", "solve_windows"])
def test_kernels_of_both_devices_have_the_same_arguments(name):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from fastmotion.flow.kernels import cuda

    kernel = getattr(kernels_for("cpu"), name)
    assert inspect.signature(getattr(cuda, name)) == inspect.signature(kernel.py_func)
