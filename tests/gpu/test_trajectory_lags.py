"""Sums of lagged frames on a CUDA device, against those on the CPU."""

from dataclasses import replace

import numpy as np
import pytest

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import CPU
from fastmotion.core.memory import CudaMemory
from fastmotion.trajectory import lags
from fastmotion.trajectory.lags import channel_groups, collect_lags
from fastmotion.trajectory.sequences import check_sequences
from tests.gpu.arrays import to_device

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size")]

DTYPES = [np.float32, np.float64]
LENGTHS = (12, 1, 5) if simulator_enabled() else (5000, 1, 5, 331)
JOINTS = 2, 3


def walks(rng, dtype=np.float64, gaps=0.0):
    X = [(rng.normal(size=(n, *JOINTS)).cumsum(axis=0) + 50).astype(dtype) for n in LENGTHS]
    for x in X:
        x[rng.random(x.shape) < gaps] = np.nan
    return check_sequences(X)


def sums_of(stats):
    """Return sums that do not depend on the references."""
    edge = stats.offsets[:, :, None] + stats.offsets[:, None, :]
    return (
        stats.gram + edge + stats.masses[:, None, None],
        stats.crosses + stats.cross_masses[:, None],
        stats.sums + stats.references[:, None],
        *(stats.energies, stats.weights, stats.n_windows, stats.targets),
    )


def assert_same(stats, others, rtol=1e-11):
    for got, wanted in zip(sums_of(stats), sums_of(others)):
        atol = rtol * np.abs(wanted).max(initial=0)
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol)


def assert_as_on_cpu(sequences, groups, n_lags, anchor, device, **options):
    wanted = collect_lags(sequences, groups, n_lags, anchor, device=CPU, **options)
    assert wanted.n_windows.all()
    assert_same(collect_lags(sequences, groups, n_lags, anchor, device=device, **options), wanted)
    there = {
        name: to_device(value, device) if name != "sequence_weights" else value
        for name, value in options.items()
    }
    frames = to_device(sequences.frames, device)
    stats = collect_lags(
        replace(sequences, frames=frames), groups, n_lags, anchor, device=device, **there
    )
    assert_same(stats, wanted)


@pytest.mark.parametrize(("sharing", "dtype"), [*zip(lags.SHARING, 2 * DTYPES)])
def test_complete_frames(device, rng, dtype, sharing):
    assert_as_on_cpu(walks(rng, dtype), channel_groups(sharing, *JOINTS), 3, 1, device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_frames_with_gaps(device, rng, dtype):
    sequences = walks(rng, dtype, gaps=0.05)
    assert_as_on_cpu(sequences, channel_groups("joint", *JOINTS), 2, 0, device)


@pytest.mark.parametrize("n_lags", [1, 9])
def test_one_lag_and_more_than_a_tile(device, rng, n_lags):
    sequences = walks(rng)
    groups = channel_groups("all", *JOINTS)
    wanted = collect_lags(sequences, groups, n_lags, 0, device=CPU)
    assert_same(collect_lags(sequences, groups, n_lags, 0, device=device), wanted)


@pytest.mark.parametrize(("gaps", "dtype"), [(0.0, np.float32), (0.1, np.float64)])
def test_targets(device, rng, dtype, gaps):
    sequences = walks(rng, np.float32)
    target = rng.normal(size=sequences.frames.shape).astype(dtype)
    target[rng.random(target.shape) < gaps] = np.nan
    groups = channel_groups("coordinate", *JOINTS)
    assert_as_on_cpu(sequences, groups, 2, 1, device, target=target)


@pytest.mark.parametrize("n_columns", [1, 2])
def test_weights_of_windows(device, rng, n_columns):
    sequences = walks(rng, gaps=0.02)
    weights = rng.random((len(sequences.frames), n_columns))
    groups = channel_groups("all", *JOINTS)
    assert_as_on_cpu(sequences, groups, 2, 1, device, row_weights=weights)


def test_weights_of_sequences_and_parts_of_them(device, rng):
    weights = rng.random(len(LENGTHS))
    weights[1] = 0.0
    groups = channel_groups("channel", *JOINTS)
    assert_as_on_cpu(walks(rng), groups, 2, 1, device, sequence_weights=weights)
    chosen = walks(rng).select([2, 0])
    assert_same(
        collect_lags(chosen, groups, 2, 1, device=device),
        collect_lags(chosen, groups, 2, 1, device=CPU),
    )


def test_parts_do_not_change_the_sums(device, rng, monkeypatch):
    sequences = walks(rng, gaps=0.02)
    groups = channel_groups("all", *JOINTS)
    target = rng.normal(size=sequences.frames.shape)
    whole = collect_lags(sequences, groups, 3, 1, target=target, device=device)
    monkeypatch.setattr(CudaMemory, "budget", lambda memory, share=0.5: 1000)
    in_parts = collect_lags(sequences, groups, 3, 1, target=target, device=device)
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(getattr(in_parts, name), value, err_msg=name)


@pytest.mark.parametrize("where", ["frames", "target"])
def test_infinite_values_are_found(device, rng, where):
    sequences = walks(rng)
    target = np.zeros_like(sequences.frames)
    {"frames": sequences.frames, "target": target}[where][7, 1, 2] = -np.inf
    with pytest.raises(ValueError, match="X and y must not hold infinite values"):
        collect_lags(sequences, channel_groups("all", *JOINTS), 2, 0, target=target, device=device)


def test_no_window_is_no_error(device, rng):
    groups = channel_groups("all", *JOINTS)
    nothing = {"sequence_weights": np.zeros(len(LENGTHS))}
    for sequences, options in ((walks(rng), nothing), (walks(rng).select([1]), {})):
        stats = collect_lags(sequences, groups, 3, 0, device=device, **options)
        assert not stats.n_windows.any()
        assert not stats.gram.any()


def test_launches_and_copies_of_a_pass(device, rng, launches, monkeypatch):
    sequences = walks(rng)
    there = replace(sequences, frames=to_device(sequences.frames, device))
    fetched = []
    fetch = CudaMemory.fetch
    monkeypatch.setattr(CudaMemory, "fetch", lambda *args: fetched.append(1) or fetch(*args))
    collect_lags(there, channel_groups("all", *JOINTS), 3, 1, device=device)
    names = [launch[0].name.rpartition(".")[2] for launch in launches]
    assert names.count("_multiply") == 3
    assert len(names) - names.count("_add_slots") == 8
    assert len(fetched) == 2


def test_tasks_with_a_group_in_common_have_slots_of_their_own(rng):
    labels = channel_groups("coordinate", 4, 7).ravel()
    for most in None, 5:
        bounds = lags._channel_bounds(labels, 7, most)
        members = [set(labels[a:b]) for a, b in zip(bounds, bounds[1:])]
        slots = lags._slots_apart(members)
        for i, one in enumerate(members):
            for j in range(i):
                assert slots[i] != slots[j] or not one & members[j]
    assert lags._channel_bounds(channel_groups("joint", 5, 3).ravel(), 5, 7) == [0, 6, 12, 15]
    assert lags._channel_bounds(channel_groups("all", 5, 3).ravel(), 1, 7) == [0, 7, 14, 15]
    assert lags._channel_bounds(channel_groups("joint", 2, 9).ravel(), 2, None) == [0, 18]
