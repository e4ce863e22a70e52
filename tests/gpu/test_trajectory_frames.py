"""What fits do to frames on a CUDA device, against NumPy."""

import numpy as np
import pytest

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import to_host
from fastmotion.trajectory import on_device
from fastmotion.trajectory.pooling import POOLS, cells_of, pool
from tests.gpu.arrays import to_device

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size")]

DTYPES = [np.float32, np.float64]
N_ROWS = 20 if simulator_enabled() else 5000


def with_gaps(rng, shape, dtype=np.float64, share=0.2):
    values = rng.normal(size=shape).astype(dtype)
    values[rng.random(shape) < share] = np.nan
    return values


@pytest.fixture
def cuda(device):
    """Return the kernels, which on some machines can be imported only where there is a device."""
    from fastmotion.trajectory.kernels import cuda

    return cuda


def test_medians_of_parts_and_groups(cuda, device, rng):
    values = np.abs(with_gaps(rng, (N_ROWS, 5))) * 10.0 ** rng.integers(-300, 300, (N_ROWS, 5))
    values[3:6, 2] = 0.0, 5e-324, np.finfo(float).max
    values[:9, 4] = np.nan
    starts, stops = np.array([0, 9, 10]), np.array([9, 10, N_ROWS])
    groups = np.array([0, 1, 1, 0, 2])
    got = cuda.medians(to_device(values, device), starts, stops, groups, 3)
    for part, (start, stop) in enumerate(zip(starts, stops)):
        for group in range(3):
            known = values[start:stop, groups == group]
            known = np.sort(known[~np.isnan(known)])
            if len(known):
                low, high = known[(len(known) - 1) // 2], known[len(known) // 2]
                assert got[part, group] == low / 2 + high / 2
            else:
                assert np.isnan(got[part, group])


@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes_of_fifth_differences(device, rng, dtype):
    frames = with_gaps(rng, (N_ROWS, 2, 1), dtype, 0.05)
    starts, stops = np.array([0, 6, 9]), np.array([6, 9, N_ROWS])
    got = on_device.noise_sizes(to_device(frames, device), starts, stops)
    for row, start, stop in zip(got, starts, stops):
        sizes = np.abs(np.diff(frames[start:stop, :, 0].astype(float), 5, axis=0))
        for size, wanted in zip(row, sizes.T):
            known = wanted[~np.isnan(wanted)]
            np.testing.assert_allclose(size, np.median(known) if len(known) else np.nan, rtol=1e-12)


def test_weights_by_distance(device, rng):
    wanted, given = with_gaps(rng, (2, N_ROWS, 2, 1), np.float32)
    base = rng.integers(0, 3, (N_ROWS, 1)).astype(float)
    there = [to_device(x, device) for x in (wanted, given, base)]
    got = on_device.outlier_weights(*there, np.array([0, 1]), lambda medians: 1.5 * medians)
    sizes = np.abs(wanted - given)[..., 0].astype(float)
    sizes[base[:, 0] == 0] = np.nan
    factors = np.minimum(1, 1.5 * np.nanmedian(sizes, axis=0) / sizes)
    np.testing.assert_allclose(to_host(got), base * np.nan_to_num(factors), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics_of_parts(device, rng, dtype):
    values = with_gaps(rng, (2, N_ROWS, 1, 3), dtype)
    values[1, 4:8, 0, 2] = np.nan
    starts, lengths = np.array([0, 4]), np.array([4, N_ROWS - 5])
    cells = cells_of((1, 2))
    out = to_device(np.zeros((2, 2, 3, len(POOLS), len(cells)), dtype), device)
    n_empty = on_device.pool(to_device(values, device), starts, lengths, POOLS, cells, np.nan, out)
    rows = values[:, : N_ROWS - 1, 0].reshape(2, N_ROWS - 1, 3)
    wanted = pool(rows, lengths, POOLS, (1, 2))
    np.testing.assert_allclose(to_host(out), wanted, rtol=1e-5)
    np.testing.assert_array_equal(n_empty, np.isnan(wanted).sum(axis=(1, 2, 3, 4)))


def test_least_confidence_in_complete_windows(device, rng):
    trust = rng.random((N_ROWS, 2))
    starts, stops = np.array([0, 7]), np.array([7, N_ROWS])
    got = to_host(on_device.least_in_window(to_device(trust, device), starts, stops, (-2, 1)))
    for start, stop in zip(starts, stops):
        for t in range(start + 2, stop - 1):
            np.testing.assert_array_equal(got[t], trust[t - 2 : t + 2].min(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_a_score(device, rng, dtype):
    wanted, given = with_gaps(rng, (2, N_ROWS, 2, 2), dtype)
    weights = rng.random((N_ROWS, 2))
    there = [to_device(x, device) for x in (wanted, given, weights)]
    known = ~np.isnan(wanted) & ~np.isnan(given)
    w = np.where(known, weights[:, :, np.newaxis], 0)
    wanted, given = np.where(known, wanted, 0).astype(float), np.where(known, given, 0)
    sums = [w, w * wanted, w * (wanted - 0.5) ** 2, w * (wanted - given) ** 2]
    np.testing.assert_allclose(
        on_device.score_sums(*there, 0.5), [x.sum() for x in sums], rtol=1e-6
    )


def test_rows_joints_and_views(device, rng):
    frames = with_gaps(rng, (N_ROWS, 2, 3), np.float32)
    frames[:, 1] = np.nan
    there = to_device(frames, device)
    np.testing.assert_array_equal(on_device.seen_joints(there), [True, False])
    rows = np.array([3, 0, 3])
    np.testing.assert_array_equal(to_host(on_device.take_rows(there, rows)), frames[rows])
    turned = on_device.contiguous(there, (2, 0, 1))
    np.testing.assert_array_equal(to_host(turned), frames.transpose(2, 0, 1))
    assert on_device.contiguous(there, (0, 1, 2)) is there
    np.testing.assert_array_equal(
        to_host(on_device.stacked(frames[:2].astype(float), there)), [*frames[:2], *frames]
    )
