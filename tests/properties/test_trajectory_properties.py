"""What holds of sums of lagged frames and of filters, whatever the trajectories."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmotion.core.device import resolve_device
from fastmotion.trajectory.filtering import EDGES, Taps, apply_kernels
from fastmotion.trajectory.lags import SHARING, channel_groups, collect_lags, offset_basis
from fastmotion.trajectory.sequences import check_sequences

some = settings(max_examples=40, deadline=None, derandomize=True, database=None)
CPU = resolve_device("cpu")


@st.composite
def trajectories(draw):
    """Return a list of sequences of one or two joints, with gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    joints = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    gaps = draw(st.sampled_from([0.0, 0.05, 0.3]))
    walks = [rng.normal(size=(n, *joints)).cumsum(axis=0) for n in lengths]
    for walk in walks:
        walk[rng.random(walk.shape) < gaps] = np.nan
    return walks


windows = st.tuples(st.integers(1, 8), st.integers(0, 7)).map(lambda w: (w[0], w[1] % w[0]))
sharings = st.sampled_from(SHARING)


def collect(walks, sharing, window, **options):
    groups = channel_groups(sharing, *walks[0].shape[1:])
    return collect_lags(check_sequences(walks), groups, *window, device=CPU, **options)


def gram(stats):
    edge = stats.offsets[:, :, None] + stats.offsets[:, None, :]
    return stats.gram + edge + stats.masses[:, None, None]


def assert_near(got, expected, size=1.0, rtol=1e-10):
    """Hold values to others up to a share of the largest of them, or of a size."""
    scale = max(size, np.nanmax(np.abs(expected), initial=0))
    np.testing.assert_allclose(got, expected, rtol=0, atol=rtol * scale)


@some
@given(trajectories(), sharings, windows, st.integers(0, 6))
def test_sums_of_parts_add_up_in_any_order(walks, sharing, window, cut):
    whole = collect(walks, sharing, window)
    parts = [part for part in (walks[cut:], walks[:cut]) if part]
    merged = sum(
        (collect(p, sharing, window) for p in parts[1:]), collect(parts[0], sharing, window)
    )
    for stats in (merged, collect(walks[::-1], sharing, window)):
        assert_near(gram(stats), gram(whole))
        np.testing.assert_array_equal(stats.n_windows, whole.n_windows)


@some
@given(trajectories(), sharings, windows, st.floats(-1e3, 1e3))
def test_a_shift_changes_nothing_but_the_direction_of_equal_weights(walks, sharing, window, shift):
    basis = offset_basis(window[0])
    lags = np.arange(window[0])
    here = collect(walks, sharing, window).rotated_gram(lags, basis)
    there = collect([walk + shift for walk in walks], sharing, window).rotated_gram(lags, basis)
    assert_near(there[:, 1:, 1:], here[:, 1:, 1:])


@some
@given(trajectories(), sharings, windows, st.floats(-1e3, 1e3))
def test_a_scale_multiplies_the_sums_by_its_square(walks, sharing, window, scale):
    here = gram(collect(walks, sharing, window))
    there = gram(collect([scale * walk for walk in walks], sharing, window))
    assert_near(there, scale**2 * here)


@some
@given(trajectories(), windows)
def test_gram_matrices_have_no_negative_direction(walks, window):
    matrices = gram(collect(walks, "channel", window))
    np.testing.assert_array_equal(matrices, matrices.swapaxes(1, 2))
    lowest = np.linalg.eigvalsh(matrices)[:, 0]
    assert (lowest >= -1e-12 * np.trace(matrices, axis1=1, axis2=2) - 1e-12).all()


@some
@given(trajectories(), sharings, windows)
def test_a_frame_as_target_gives_a_column_of_the_gram_matrix(walks, sharing, window):
    stats = collect(walks, sharing, window, target=np.concatenate(walks))
    crosses = stats.crosses + stats.cross_masses[:, None]
    assert_near(crosses, gram(stats)[:, window[1]])


@some
@given(trajectories(), windows, st.integers(2, 5))
def test_whole_weights_are_repetitions(walks, window, weight):
    weights = np.ones(len(walks))
    weights[0] = weight
    weighted = collect(walks, "all", window, sequence_weights=weights)
    repeated = collect([*walks, *walks[:1] * (weight - 1)], "all", window)
    assert_near(gram(weighted), gram(repeated))
    assert_near(weighted.weights, repeated.weights)


@st.composite
def kernels(draw):
    """Return a kernel with one frame at least of the past or the future."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    first, size = draw(st.integers(-6, 2)), draw(st.integers(1, 7))
    return Taps(np.arange(first, first + size), rng.uniform(0.1, 1, (1, size)))


edge_modes = st.sampled_from(EDGES)
shares = st.sampled_from([0.0, 0.5, 1.0])


def run(walks, kernel, edges, min_valid):
    return apply_kernels(
        check_sequences(walks), [kernel], edges=edges, min_valid=min_valid, device=CPU
    )[..., 0]


@some
@given(trajectories(), kernels(), edge_modes, shares, st.floats(-100, 100), st.floats(-100, 100))
def test_filters_are_affine(walks, kernel, edges, min_valid, scale, shift):
    plain = run(walks, kernel, edges, min_valid)
    changed = run([scale * walk + shift for walk in walks], kernel, edges, min_valid)
    np.testing.assert_array_equal(np.isnan(changed), np.isnan(plain))
    # Weights for what is missing may be large beside those that they replace.
    expected = scale * plain + shift * kernel.weights.sum()
    assert_near(changed, expected, size=1e5, rtol=1e-9)


@some
@given(trajectories(), kernels(), edge_modes)
def test_the_fewer_frames_suffice_the_more_is_known(walks, kernel, edges):
    few, half, all_ = (~np.isnan(run(walks, kernel, edges, share)) for share in (0.0, 0.5, 1.0))
    assert (few >= half).all()
    assert (half >= all_).all()


@some
@given(trajectories(), kernels(), edge_modes, shares)
def test_sequences_do_not_see_each_other(walks, kernel, edges, min_valid):
    together = run(walks, kernel, edges, min_valid)
    apart = [run([walk], kernel, edges, min_valid) for walk in walks]
    np.testing.assert_array_equal(together, np.concatenate(apart))


@some
@given(trajectories(), st.lists(kernels(), min_size=2, max_size=4), edge_modes)
def test_kernels_do_not_see_each_other(walks, bank, edges):
    together = apply_kernels(check_sequences(walks), bank, edges=edges, min_valid=0.5, device=CPU)
    for k, kernel in enumerate(bank):
        # Sums of a bank are taken in another order.
        assert_near(together[..., k], run(walks, kernel, edges, 0.5), rtol=1e-12, size=100)


@some
@given(trajectories(), kernels(), shares)
def test_time_reversed_kernels_see_time_reversed(walks, kernel, min_valid):
    mirrored = Taps(-kernel.offsets[::-1], kernel.weights[:, ::-1])
    backwards = run([walk[::-1] for walk in walks], mirrored, "reflect", min_valid)
    forwards = run(walks, kernel, "reflect", min_valid)
    parts = np.split(forwards, np.cumsum([len(walk) for walk in walks])[:-1])
    assert_near(backwards, np.concatenate([part[::-1] for part in parts]), size=100, rtol=1e-9)
