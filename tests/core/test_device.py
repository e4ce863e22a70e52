import importlib.util

import numba
import numpy as np
import pytest

from fastmotion import config_context
from fastmotion.core import device as fd
from fastmotion.core.device import Device, launch_shape, resolve_device, thread_limit


class CudaArray:
    """An array of a library that keeps its memory on a device."""

    __cuda_array_interface__ = {"shape": (1,), "typestr": "<f4", "data": (0, False), "version": 3}

    def __init__(self, **place):
        if place:
            self.device = type("Place", (), place)()


@pytest.fixture
def two_devices(monkeypatch):
    monkeypatch.setattr(fd, "cuda_unavailable_reason", lambda: None)
    cuda = pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    monkeypatch.setattr(cuda, "gpus", [None, None])


@pytest.mark.parametrize("name", [None, "auto", "cpu", Device("cpu")])
def test_host_arrays_stay_on_the_cpu(name):
    assert resolve_device(name, np.zeros(3), [1, 2]) == Device("cpu")
    assert str(resolve_device(name)) == "cpu"


@pytest.mark.parametrize(
    ("name", "wanted"), [("cuda", "cuda:0"), ("cuda:1", "cuda:1"), (Device("cuda", 1), "cuda:1")]
)
def test_cuda_devices_by_name(two_devices, name, wanted):
    assert str(resolve_device(name)) == wanted


@pytest.mark.parametrize(
    ("place", "wanted"), [({}, "cuda:0"), ({"id": 1}, "cuda:1"), ({"index": 1}, "cuda:1")]
)
def test_auto_follows_the_first_cuda_array(two_devices, place, wanted):
    assert str(resolve_device("auto", np.zeros(3), CudaArray(**place))) == wanted
    assert str(resolve_device("cpu", CudaArray(**place))) == "cpu"


def test_none_takes_the_configured_device(two_devices):
    with config_context(device="cuda:1"):
        assert str(resolve_device(None)) == "cuda:1"
        assert str(resolve_device("cpu")) == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", ""])
def test_unknown_names_are_an_error_that_lists_the_options(name):
    with pytest.raises(ValueError, match="None, 'auto', 'cpu', 'cuda' or 'cuda:N'") as caught:
        resolve_device(name)
    assert repr(name) in str(caught.value)


def test_device_of_another_type_is_an_error():
    with pytest.raises(TypeError, match="device must be .* got 0 of type int"):
        resolve_device(0)


def test_index_beyond_the_devices_is_an_error(two_devices):
    with pytest.raises(RuntimeError, match=r"'cuda:2' is not available.* 2 CUDA device"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_missing_numba_cuda_is_named_with_its_cure(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError) as caught:
        resolve_device(name)
    message = str(caught.value)
    assert f"device='{name}' is not available: numba-cuda is not installed" in message
    assert "pip install fastmotion[cu12]" in message
    assert "device='cpu'" in message


def test_missing_driver_is_named_with_its_cure(run_python):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    # An empty list of visible devices hides those that there may be.
    out = run_python(
        """
from fastmotion.core.device import resolve_device
try:
    resolve_device("cuda")
except RuntimeError as error:
    print(error)
""",
        CUDA_VISIBLE_DEVICES="",
        NUMBA_ENABLE_CUDASIM=None,
    )
    assert "device='cuda' is not available: no CUDA device was found" in out
    assert "install an NVIDIA driver" in out
    assert "device='cpu'" in out


def test_auto_on_a_cuda_array_without_a_device_is_an_error(monkeypatch):
    monkeypatch.setattr(fd, "cuda_unavailable_reason", lambda: "some reason")
    with pytest.raises(RuntimeError, match="'cuda:0' is not available: some reason"):
        resolve_device("auto", CudaArray())


def test_arrays_on_the_host_are_not_copied():
    x = np.zeros(3)
    assert fd.to_host(x) is x


@pytest.mark.cudasim
def test_arrays_come_back_from_a_simulated_device(run_python):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    out = run_python(
        """
import numpy as np
from numba import cuda
from fastmotion.core.device import is_cuda_array, resolve_device, to_host

host = np.arange(6.0).reshape(2, 3)
there = cuda.to_device(host)
assert is_cuda_array(there) and not is_cuda_array(host)
print(resolve_device("auto", there), np.array_equal(to_host(there), host))
""",
        NUMBA_ENABLE_CUDASIM="1",
    )
    assert out.split() == ["cuda:0", "True"]


def test_launch_shape_covers_the_data():
    assert launch_shape((1000,), (256,)) == ((4,), (256,))
    assert launch_shape((480, 640), (32, 8)) == ((20, 60), (32, 8))
    assert launch_shape((481, 641), (32, 8)) == ((21, 61), (32, 8))
    assert launch_shape((0, 5), (32, 8)) == ((1, 1), (32, 8))
    for shape in (1,), (1, 1):
        grid, block = launch_shape(shape)
        assert grid == (1,) * len(shape)
        assert np.prod(block) >= 32
    with pytest.raises(ValueError, match="one or two axes"):
        launch_shape((1, 2, 3))


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    asked = []
    monkeypatch.setattr(numba, "set_num_threads", asked.append)
    return asked


@pytest.mark.parametrize(
    ("n_jobs", "wanted"),
    [(1, 1), (2, 2), (3, 3), (100, 3), (-1, 3), (-2, 2), (-3, 1), (-9, 1), (np.int64(2), 2)],
)
def test_thread_limit_counts_as_joblib_does_and_stops_at_all(three_threads, n_jobs, wanted):
    before = numba.get_num_threads()
    with thread_limit(n_jobs) as n_threads:
        assert n_threads == wanted
    with config_context(n_jobs=n_jobs), thread_limit(None) as n_threads:
        assert n_threads == wanted
    assert three_threads == [wanted, before] * 2


def test_thread_limit_none_keeps_the_present_number_and_restores_it_after_an_error():
    before = numba.get_num_threads()
    with thread_limit(None) as n_threads:
        assert n_threads == before
    with pytest.raises(ZeroDivisionError), thread_limit(1):
        assert numba.get_num_threads() == 1
        raise ZeroDivisionError
    assert numba.get_num_threads() == before


@pytest.mark.parametrize(
    ("n_jobs", "error"), [(0, ValueError), (1.0, TypeError), ("2", TypeError), (True, TypeError)]
)
def test_thread_limit_refuses_what_is_no_number_of_threads(n_jobs, error):
    with pytest.raises(error, match="n_jobs must"), thread_limit(n_jobs):
        pass
