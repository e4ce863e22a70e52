"""Memory, arrays of other libraries and the kernels that all families use."""

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from numba import cuda, float32, float64, void

from fastmotion import free_memory, show_versions, warmup
from fastmotion.core.compile import CudaKernel, cpu_function, cuda_kernel, simulator_enabled
from fastmotion.core.device import Device, is_cuda_array, resolve_device, to_host
from fastmotion.core.interop import Summary, _Span, as_device_array, like, summarise
from fastmotion.core.kernels import cuda as kernels
from fastmotion.core.kernels.cuda import block_sum, warp_sum
from fastmotion.core.memory import CudaMemory, memory_of
from fastmotion.core.transfer import transfers

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size")]


@pytest.fixture
def memory(device):
    free_memory()
    return memory_of(device)


def test_arrays_of_a_scope_are_used_again_and_new_ones_are_not(memory):
    with memory.scope():
        first = memory.empty((3, 4))
        other = memory.empty((3, 4))
        assert first is not other
        kept = memory.new((3, 4), np.float32)
    with memory.scope():
        again = [memory.empty((3, 4)) for _ in range(3)]
        assert {id(first), id(other)} <= {id(array) for array in again}
        assert all(array is not kept for array in again)
        assert memory.empty((3, 4), np.float64).dtype == np.float64
        assert memory.empty(12).shape == (12,)
    with memory.scope():
        with memory.scope():
            inner = memory.empty(5)
        assert memory.empty(5) is inner
        assert memory.empty(5) is not inner


def test_free_memory_empties_the_pool(memory):
    with memory.scope():
        first = memory.zeros(7)
    table = np.arange(3.0)
    there = memory.constant(table)
    assert memory.constant(table) is there
    assert memory.constant(table.copy()) is not there
    free_memory()
    assert memory.constant(table) is not there
    with memory.scope():
        assert memory.empty(7) is not first


def test_threads_do_not_share_scopes(memory):
    taken = {}

    def work(name, inside, done):
        with memory.scope():
            taken[name] = memory.empty(9)
            inside.set()
            done.wait(10)

    events = [threading.Event() for _ in range(3)]
    threads = [
        threading.Thread(target=work, args=(name, event, events[2]))
        for name, event in zip("ab", events)
    ]
    for thread in threads:
        thread.start()
    for event in events[:2]:
        assert event.wait(10)
    assert taken["a"] is not taken["b"]
    events[2].set()
    for thread in threads:
        thread.join()


def test_put_copy_fill_and_fetch(memory, rng):
    values = rng.normal(size=(5, 6))
    with memory.scope():
        there = memory.put(values[:, ::2])
        assert memory.put(there) is there
        np.testing.assert_array_equal(memory.fetch(there), values[:, ::2])
        other = memory.empty(there.shape, there.dtype)
        memory.copy(there, other)
        np.testing.assert_array_equal(memory.fetch(other), values[:, ::2])
        assert memory.fetch(memory.put(np.empty((0, 3)))).shape == (0, 3)
        assert memory.fetch(memory.put(values[0][:, np.newaxis])).shape == (6, 1)


@pytest.mark.parametrize("dtype", ["u1", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("size", [1, 19, 24])
def test_fill(memory, dtype, size):
    with memory.scope():
        out = memory.put(np.full(size, 3, dtype))
        memory.fill(out, 0)
        np.testing.assert_array_equal(memory.fetch(out), 0)
        if dtype != "u1":
            memory.fill(out.reshape(size, 1), -2)
            np.testing.assert_array_equal(memory.fetch(out), -2)
        assert memory.fetch(memory.zeros((2, 3), dtype)).tolist() == [[0] * 3] * 2


def test_out_of_memory_says_how_much_was_asked_for_and_what_to_lower(memory, monkeypatch):
    tries = []

    def fail(shape, dtype):
        tries.append(shape)
        raise RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")

    with memory.scope("lower n_things"), memory.scope():  # which says the same
        monkeypatch.setattr(cuda, "device_array", fail)
        with pytest.raises(
            MemoryError, match=r"cuda:0 is out of memory: 1.00 GiB were asked.*; lower n_things;"
        ):
            memory.empty((2**14, 2**14))
    assert len(tries) == 2  # once more when the pool had been given back


def test_budget_counts_the_pool_as_free(memory, monkeypatch):
    monkeypatch.setattr(CudaMemory, "_free_and_total", lambda self: (1000, 2000))
    assert memory.budget(0.5) == 500
    with memory.scope():
        memory.empty(100, np.float32)
    assert memory.budget(0.5) == 700


def test_arrays_of_the_device_are_taken_as_they_are(device, rng):
    there = cuda.to_device(rng.normal(size=(4, 5)))
    assert as_device_array(there, device) is there
    assert resolve_device("auto", there) == device
    assert is_cuda_array(there)
    assert not is_cuda_array(np.zeros(3))
    assert like(there, there) is there


def test_the_pool_leaves_room_for_others(memory, monkeypatch):
    monkeypatch.setattr(memory, "_total_bytes", 1000)
    with memory.scope():
        old = [memory.empty(40) for _ in range(3)]
    with memory.scope():
        new = memory.empty(25)
    with memory.scope():
        assert memory.empty(25) is new
        assert all(memory.empty(40) is not array for array in old)


@pytest.mark.parametrize("given", ["f8", "f4", "u1", "u2", "u4", "i1", "i2", "i4", "i8", "?"])
@pytest.mark.parametrize("wanted", ["f4", "f8"])
def test_arrays_are_converted_on_the_device(device, given, wanted):
    values = np.array([[0, 1, 1], [1, 0, 1]], given)
    for there in cuda.to_device(values), values:
        out = as_device_array(there, device, np.dtype(wanted))
        assert out.dtype == np.dtype(wanted)
        np.testing.assert_array_equal(to_host(out), values.astype(wanted))


def test_strided_arrays_are_gathered(device, rng):
    values = rng.normal(size=(4, 6))
    for view in (cuda.to_device(values)[:, 1::2], cuda.to_device(values).T):
        out = as_device_array(view, device)
        assert out.is_c_contiguous()
        np.testing.assert_array_equal(to_host(out), to_host(view))


def test_arrays_that_repeat_themselves_are_spread(device, rng):
    values = rng.integers(0, 255, size=(4, 5)).astype(np.uint8)
    view = np.broadcast_to(values[..., np.newaxis], (4, 5, 3))
    span = _Span.of(view, 100)
    assert (span.address, span.length, span.first) == (100, 20, 0)
    out = cuda.device_array(60, np.uint8)
    kernels.gather(cuda.to_device(values.ravel()), span.first, span.shape, span.strides, out)
    np.testing.assert_array_equal(to_host(out).reshape(4, 5, 3), view)


class _Stream:
    def __init__(self, name, events):
        self.name, self.events = name, events

    def wait_stream(self, other):
        self.events.append(f"{self.name} waits for {other.name}")


class _Tensor:
    """What PyTorch gives, as far as it matters here."""

    __module__ = "torch"
    device = "cuda:0"

    def __init__(self, values, events):
        self.__cuda_array_interface__ = {}
        self.values, self.events = values, events

    def record_stream(self, stream):
        self.events.append(f"memory is used by {stream.name}")


def test_streams_of_torch_wait_for_ours_and_ours_for_them(device, monkeypatch):
    events = []
    streams = SimpleNamespace(
        default_stream=lambda _: _Stream("ours", events),
        current_stream=lambda _: _Stream("theirs", events),
    )
    torch = SimpleNamespace(cuda=streams, as_tensor=lambda result, device: (result, device))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(cuda, "as_cuda_array", lambda x: x.values, raising=False)
    there = cuda.to_device(np.arange(3.0))
    given = _Tensor(there, events)
    assert as_device_array(given, device) is there
    assert events == ["ours waits for theirs", "memory is used by ours"]
    assert like(there, given) == (there, "cuda:0")
    assert events[2:] == ["theirs waits for ours"]


def test_gather_follows_strides_of_either_sign(device, rng):
    values = rng.integers(0, 2**31, size=(3, 4, 5)).astype(np.uint32)
    view = values[::-1, ::2].transpose(2, 0, 1)
    base = values.__array_interface__["data"][0]
    span = _Span.of(view, view.__array_interface__["data"][0])
    assert span.address == base
    assert span.length <= values.size
    out = cuda.device_array(view.size, np.uint32)
    memory = cuda.to_device(values.ravel()[: span.length])
    kernels.gather(memory, span.first, span.shape, span.strides, out)
    np.testing.assert_array_equal(to_host(out).reshape(view.shape), view)


def test_an_array_on_another_device_is_an_error(device):
    there = cuda.to_device(np.zeros(3))
    with pytest.raises(ValueError, match=r"lies on cuda:0, not on cuda:3"):
        as_device_array(there, Device("cuda", 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_summarise(device, dtype, rng):
    values = rng.normal(size=(7, 11)).astype(dtype)
    summary = summarise(cuda.to_device(values))
    assert summary == Summary(0, 0, float(values.min()), float(values.max()))
    assert summary.is_finite
    values[2, 3] = np.nan
    values[6, 10] = np.inf
    values[0, 0] = -np.inf
    assert summarise(cuda.to_device(values)) == Summary(1, 2, -np.inf, np.inf)
    everything = summarise(cuda.to_device(np.full(3, np.nan, dtype)))
    assert everything == Summary(3, 0, np.inf, -np.inf)
    assert summarise(cuda.to_device(np.empty((0, 2), dtype))).is_finite


def test_results_come_back_as_what_was_given(device):
    there = cuda.to_device(np.arange(3.0))
    assert isinstance(like(there, np.zeros(2)), np.ndarray)
    assert isinstance(like(there, [1, 2]), np.ndarray)
    assert is_cuda_array(like(np.arange(3.0), there))


def test_parts_go_up_and_results_come_down(memory, rng):
    parts = [rng.normal(size=(3, 4)) for _ in range(5)] + [np.empty((0, 4))]
    outs = [np.full_like(part, np.nan) for part in parts]
    with memory.scope(), transfers(memory) as moving:
        wait = moving.up(parts[0])
        for part, coming, out in zip(parts, [*parts[1:], parts[0]], outs):
            there, wait = wait(), moving.up(coming)
            with memory.scope():  # what is on its way belongs to no scope
                np.testing.assert_array_equal(memory.fetch(there), part)
                moving.down(there, out)
                memory.fill(there, 1)  # allowed at once
    for part, out in zip(parts, outs):
        np.testing.assert_array_equal(out, part)
    # However many parts there are, two are on their way up and two down.
    assert [len(rooms) for rooms in memory._page_locked.values()] == [4]
    room = memory.lend_page_locked(5000)
    assert room.size == 8192
    assert room is not memory.lend_page_locked(5000)
    memory.return_page_locked(room)
    assert memory.lend_page_locked(8192) is room
    there = memory.lend(3, np.float32)
    memory.give_back(there)
    assert memory.lend(3, np.float32) is there


def test_transfers_end_when_the_block_fails(memory):
    out = np.zeros(3)
    with pytest.raises(KeyError), memory.scope(), transfers(memory) as moving:
        moving.down(moving.up(np.arange(3.0))(), out)
        raise KeyError
    np.testing.assert_array_equal(out, np.arange(3.0))


def test_warmup_compiles_the_kernels_of_the_families_asked_for(device, monkeypatch):
    compiled = []
    monkeypatch.setattr(CudaKernel, "compile", lambda kernel: compiled.append(kernel.name))
    seconds = warmup("flow", device="cuda")
    assert list(seconds) == ["core.kernels", "flow.kernels"]
    assert "fastmotion.core.kernels.cuda._fill" in compiled
    assert {name.split(".")[1] for name in compiled} == {"core", "flow"}


def test_show_versions_names_the_devices(device, capsys):
    show_versions()
    assert "CUDA: cuda:0 " in capsys.readouterr().out


_LANES = 4 if simulator_enabled() else 32


@cpu_function
def _larger(a, b):
    if a > b:
        return a
    return b


@cuda_kernel(signatures=(void(float64[::1], float64[::1], float32[::1]),))
def _sum_and_more(values, sums, lanes):
    scratch = cuda.shared.array(_LANES, np.float64)
    i = cuda.threadIdx.x
    total = block_sum(values[cuda.grid(1)], scratch)
    sums[cuda.grid(1)] = _larger(total, values[0])
    lanes[cuda.grid(1)] = warp_sum(np.float32(i))


def test_sums_over_blocks_and_warps_reach_every_thread(device, rng):
    values = rng.normal(size=2 * _LANES)
    sums, lanes = cuda.device_array(2 * _LANES), cuda.device_array(2 * _LANES, np.float32)
    _sum_and_more[2, _LANES](cuda.to_device(values), sums, lanes)
    wanted = np.maximum(values.reshape(2, -1).sum(1), values[0])
    np.testing.assert_allclose(to_host(sums).reshape(2, -1), wanted[:, None].repeat(_LANES, 1))
    np.testing.assert_array_equal(to_host(lanes), _LANES * (_LANES - 1) / 2)
