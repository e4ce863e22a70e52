"""Motion kernels over frames on a CUDA device, against those on the CPU."""

from dataclasses import replace

import numpy as np
import pytest

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import CPU, is_cuda_array, to_host
from fastmotion.core.memory import CudaMemory
from fastmotion.trajectory import filtering
from fastmotion.trajectory.filtering import Taps, apply_kernels
from fastmotion.trajectory.sequences import check_sequences
from tests.gpu.arrays import to_device

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size")]

DTYPES = [np.float32, np.float64]
# In frames: more than a window, one alone, and fewer than a window.
LENGTHS = (13, 1, 3) if simulator_enabled() else (900, 1, 3, 40, 301)


def walks(rng, dtype, gaps=0.0, joints=(2, 2)):
    X = [rng.normal(size=(n, *joints)).cumsum(axis=0).astype(dtype) for n in LENGTHS]
    for x in X:
        x[rng.random(x.shape) < gaps] = np.nan
    return check_sequences(X)


def kernel(rng, offsets, n_channels=1, edge_weights=True):
    offsets = np.array(offsets)
    reach = int(np.abs(offsets[[0, -1]]).max())
    return Taps(
        offsets,
        rng.normal(size=(n_channels, len(offsets))),
        rng.normal(size=(2, reach, n_channels, len(offsets))) if edge_weights else None,
    )


def assert_as_on_cpu(sequences, kernels, device, **options):
    """Compare outputs of frames on the host, which go up in parts, and of those on the device."""
    options = {"min_valid": 0.5, **options}
    wanted = apply_kernels(sequences, kernels, device=CPU, **options)
    assert np.isfinite(wanted).sum() > 0
    there = replace(sequences, frames=to_device(sequences.frames, device))
    from_device = apply_kernels(there, kernels, device=device, **options)
    assert is_cuda_array(from_device)
    size = 1e-5 if wanted.dtype == np.float32 else 1e-12
    for got in (apply_kernels(sequences, kernels, device=device, **options), to_host(from_device)):
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=size, atol=20 * size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("edges", filtering.EDGES)
def test_complete_and_cut_off_windows(device, rng, dtype, edges):
    assert_as_on_cpu(walks(rng, dtype), [kernel(rng, [-2, -1, 0])], device, edges=edges)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("edges", ["refit", "reflect"])
@pytest.mark.parametrize("n_channels", [1, 4])
def test_windows_that_lack_frames(device, rng, dtype, edges, n_channels):
    sequences = walks(rng, dtype, gaps=0.1)
    taps = [kernel(rng, [-1, 0, 1], n_channels)]
    assert_as_on_cpu(sequences, taps, device, edges=edges, min_valid=0.3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_banks_of_kernels(device, rng, dtype):
    bank = [kernel(rng, np.arange(1 - n, 1)) for n in (2, 3, 4, 5)]
    assert_as_on_cpu(walks(rng, dtype), bank, device, edges="nearest")


@pytest.mark.parametrize("offsets", [[-4, -2, 0], [-9, -1, 0], [0], [1, 2, 3]])
@pytest.mark.parametrize("n_channels", [1, 4])
def test_taps_apart_and_beside_the_frame(device, rng, offsets, n_channels):
    taps = kernel(rng, offsets, n_channels, edge_weights=False)
    assert_as_on_cpu(walks(rng, np.float32), [taps], device, edges="nearest")


@pytest.mark.parametrize("n_columns", [1, 2])
def test_confidences(device, rng, n_columns):
    sequences = walks(rng, np.float32, gaps=0.05)
    trust = rng.random((len(sequences.frames), n_columns))
    taps = [kernel(rng, [-2, -1, 0])]
    assert_as_on_cpu(sequences, taps, device, edges="refit", confidence=trust)


def test_parts_do_not_change_the_outputs(device, rng, monkeypatch):
    sequences = walks(rng, np.float64, gaps=0.1)
    taps = [kernel(rng, [-2, -1, 0, 1]), kernel(rng, [-1, 0])]
    trust = rng.random((len(sequences.frames), 2))
    for options in ({}, {"confidence": trust}):
        call = {"edges": "reflect", "min_valid": 0.5, "device": device, **options}
        monkeypatch.undo()
        whole = apply_kernels(sequences, taps, **call)
        monkeypatch.setattr(CudaMemory, "budget", lambda memory, share=0.5: 6000)
        blocks = filtering._blocks(sequences, 4)
        assert len(filtering._parts(blocks, 6000 // 6 // 96, 2)) > 1
        np.testing.assert_array_equal(apply_kernels(sequences, taps, **call), whole)


@pytest.mark.parametrize("n_kernels", [1, 3])
def test_windows_end_where_a_part_ends_though_the_sequence_goes_on(
    device, rng, monkeypatch, n_kernels
):
    sequences = check_sequences(rng.normal(size=(1, 30, 1, 2)).astype(np.float32))
    taps = [kernel(rng, [-2, -1, 0, 1, 2]) for _ in range(n_kernels)]
    call = {"edges": "valid", "min_valid": 1.0}
    monkeypatch.setattr(filtering, "_PART_BYTES", 8 * 2 * 4)
    there = apply_kernels(sequences, taps, device=device, **call)
    wanted = apply_kernels(sequences, taps, device=CPU, **call)
    np.testing.assert_allclose(there, wanted, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*invalid value encountered")
@pytest.mark.parametrize("place", [(6, 0, 1), (0, 0, 0)])
def test_infinite_values_are_found(device, rng, place):
    sequences = walks(rng, np.float32)
    sequences.frames[place] = np.inf
    there = replace(sequences, frames=to_device(sequences.frames, device))
    for given in sequences, there:
        with pytest.raises(ValueError, match="must not hold infinite values"):
            apply_kernels(
                given, [kernel(rng, [-1, 0])], edges="refit", min_valid=0.5, device=device
            )


def test_frames_are_read_once_by_kernels_that_take_three_at_a_time(device, rng, launches):
    sequences = walks(rng, np.float32)
    bank = [kernel(rng, np.arange(1 - n, 1)) for n in (2, 3, 5)]
    there = replace(sequences, frames=to_device(sequences.frames, device))
    apply_kernels(there, bank, edges="nearest", min_valid=0.5, device=device)
    names = [launch[0].name.rpartition(".")[2] for launch in launches]
    assert [name for name in names if name != "_fill"] == ["_filter_three", "_finish"]
