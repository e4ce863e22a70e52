"""Sums of lagged frames and filters against their spelt-out forms."""

import numpy as np
import pytest
from scipy.ndimage import correlate1d

from fastmotion.core.device import resolve_device
from fastmotion.trajectory.filtering import Taps, apply_kernels
from fastmotion.trajectory.fixed import fixed_kernel
from fastmotion.trajectory.lags import SHARING, channel_groups, collect_lags, offset_basis
from fastmotion.trajectory.sequences import check_sequences
from tests.reference import trajectory as reference

CPU = resolve_device("cpu")
DTYPES = [np.float32, np.float64]

# In frames: one alone, as many as a window of 5, one more than it, and several blocks of sums.
LENGTHS = (1, 5, 6, 37, 4, 530)


def ragged(rng, lengths=LENGTHS, joints=(2, 3), dtype=np.float64, gaps=0.0):
    """Return random walks, of whose values a share is missing."""
    walks = [rng.normal(size=(n, *joints)).cumsum(axis=0).astype(dtype) for n in lengths]
    for walk in walks:
        walk[rng.random(walk.shape) < gaps] = np.nan
    return walks


def full_sums(stats):
    """Return what the lagged matrix would give, from the statistics about references."""
    edge = stats.offsets[:, :, None] + stats.offsets[:, None, :]
    gram = stats.gram + edge + stats.masses[:, None, None]
    return (
        gram,
        stats.crosses + stats.cross_masses[:, None],
        stats.energies,
        stats.weights,
        stats.n_windows,
    )


def assert_sums(stats, expected, rtol=1e-11):
    for got, want in zip(full_sums(stats), expected):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * np.abs(want).max(initial=0))


def assert_same(stats, others):
    for name, value in vars(stats).items():
        np.testing.assert_array_equal(value, getattr(others, name), err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize(("n_lags", "anchor"), [(1, 0), (5, 0), (5, 2), (9, 8)])
def test_sums_are_those_of_the_lagged_matrix(rng, dtype, sharing, n_lags, anchor):
    walks = ragged(rng, dtype=dtype)
    groups = channel_groups(sharing, 2, 3)
    stats = collect_lags(check_sequences(walks), groups, n_lags, anchor, device=CPU)
    assert_sums(stats, reference.lagged_sums(walks, groups, n_lags, anchor))
    assert stats.gram.dtype == np.float64


def test_groups_are_those_of_their_names():
    assert (channel_groups("all", 2, 3) == 0).all()
    np.testing.assert_array_equal(channel_groups("coordinate", 2, 3), [[0, 1, 2]] * 2)
    np.testing.assert_array_equal(channel_groups("joint", 2, 3), [[0] * 3, [1] * 3])
    np.testing.assert_array_equal(channel_groups("channel", 2, 3), [[0, 1, 2], [3, 4, 5]])


WEIGHTS = {
    "sequence": lambda rng, n, joints: rng.random(),
    "frame": lambda rng, n, joints: rng.random((n, 1, 1)),
    "joint": lambda rng, n, joints: rng.random((n, joints, 1)),
    "channel": lambda rng, n, joints: rng.random((n, joints, 3)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gaps", [0.0, 0.05])
@pytest.mark.parametrize("target", ["none", "whole", "with gaps"])
@pytest.mark.parametrize("kind", [None, *WEIGHTS])
def test_gaps_targets_and_weights(rng, dtype, gaps, target, kind):
    n_lags, anchor = 4, 1
    walks = ragged(rng, dtype=dtype, gaps=gaps)
    goals = None
    if target != "none":
        goals = ragged(rng, dtype=dtype, gaps=0.1 * (target == "with gaps"))
    options, weights = {}, None
    if kind is not None:
        weights = [WEIGHTS[kind](rng, len(walk), 2) for walk in walks]
        if kind == "sequence":
            options["sequence_weights"] = np.array(weights)
        else:
            weights[3][3:9] = 0
            options["row_weights"] = np.concatenate([w.reshape(len(w), -1) for w in weights])
    if goals is not None:
        options["target"] = np.concatenate(goals)
    groups = channel_groups("joint", 2, 3)
    stats = collect_lags(check_sequences(walks), groups, n_lags, anchor, device=CPU, **options)
    assert_sums(stats, reference.lagged_sums(walks, groups, n_lags, anchor, goals, weights))


def test_row_and_sequence_weights_multiply(rng):
    walks = ragged(rng)
    sequences, groups = check_sequences(walks), channel_groups("all", 2, 3)
    frame, sequence = rng.random((sum(LENGTHS), 1)), rng.random(len(LENGTHS))
    both = frame * np.repeat(sequence, LENGTHS)[:, None]
    got = collect_lags(
        sequences, groups, 3, 0, row_weights=frame, sequence_weights=sequence, device=CPU
    )
    expected = collect_lags(sequences, groups, 3, 0, row_weights=both, device=CPU)
    assert_sums(got, full_sums(expected), rtol=1e-12)


def test_weights_of_one_are_no_weights(rng):
    sequences, groups = check_sequences(ragged(rng, gaps=0.02)), channel_groups("channel", 2, 3)
    target = np.concatenate(ragged(rng))
    plain = collect_lags(sequences, groups, 9, 3, target=target, device=CPU)
    ones = np.ones((sum(LENGTHS), 1))
    weighted = collect_lags(sequences, groups, 9, 3, target=target, row_weights=ones, device=CPU)
    assert_sums(weighted, full_sums(plain), rtol=1e-12)


@pytest.mark.parametrize("sharing", ["all", "channel"])
@pytest.mark.parametrize("weighted", [False, True])
def test_long_sequences_are_cut_where_it_does_not_matter(rng, sharing, weighted):
    walk = rng.normal(size=(40_000, 1, 1)).cumsum(axis=0)
    walk[[0, 16_384, 16_390, 39_999]] = np.nan
    weights = rng.random((len(walk), 1)) if weighted else None
    target = rng.normal(size=walk.shape)
    stats = collect_lags(
        check_sequences(walk),
        channel_groups(sharing, 1, 1),
        7,
        2,
        target=target,
        row_weights=weights,
        device=CPU,
    )
    windows = np.lib.stride_tricks.sliding_window_view(walk[:, 0, 0], 7)[:, ::-1]
    is_whole = ~np.isnan(windows).any(axis=1)
    rows, right = windows[is_whole], target[4:-2, 0, 0][is_whole]
    w = np.ones(len(rows)) if weights is None else weights[4:-2, 0][is_whole]
    expected = [
        (rows.T * w) @ rows,
        (w * right) @ rows,
        (w * right) @ right,
        w.sum(),
        len(rows),
    ]
    assert_sums(stats, [np.array([value]) for value in expected])


@pytest.mark.parametrize("weighted", [False, True])
def test_threads_do_not_change_a_bit(rng, weighted):
    sequences = check_sequences(ragged(rng, lengths=(5000, 40, 20_000, 3), dtype=np.float32))
    weights = rng.random((len(sequences.frames), 2)) if weighted else None
    for sharing in ("all", "channel"):
        one, two = (
            collect_lags(
                sequences,
                channel_groups(sharing, 2, 3),
                12,
                0,
                row_weights=weights,
                n_jobs=n_jobs,
                device=CPU,
            )
            for n_jobs in (1, 2)
        )
        assert_same(one, two)


@pytest.mark.parametrize("weighted", [False, True])
def test_an_offset_leaves_the_digits_of_differences(rng, weighted):
    x = rng.normal(size=(3000, 2, 1))
    far = x + 1e4
    weights = rng.random((len(x), 1)) if weighted else None
    stats = collect_lags(
        check_sequences(far), channel_groups("all", 2, 1), 6, 0, row_weights=weights, device=CPU
    )
    basis = offset_basis(6)
    # Differences of the shifted values are exact, so this has no offset to cancel.
    w = np.ones((len(x), 1)) if weights is None else weights
    (rows, _, row_weights), *_ = reference.lagged_rows(
        [far - 1e4], channel_groups("all", 2, 1), 6, 0, weights=[w[..., None]]
    )
    rotated = rows @ basis[:, 1:]
    expected = (rotated.T * row_weights) @ rotated
    got = stats.rotated_gram(np.arange(6), basis)[0, 1:, 1:]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_statistics_of_parts_add_up(rng):
    walks = ragged(rng, gaps=0.02)
    groups = channel_groups("coordinate", 2, 3)

    def collect(parts):
        return collect_lags(check_sequences(parts), groups, 5, 0, device=CPU)

    whole = collect(walks)
    assert_sums(collect(walks[:4]) + collect(walks[4:]), full_sums(whole), rtol=1e-13)
    assert_sums(whole - collect(walks[:3]), full_sums(collect(walks[3:])), rtol=1e-12)
    fine = collect_lags(
        check_sequences(walks), channel_groups("channel", 2, 3), 5, 0, device=CPU
    ).regroup(np.array([0, 1, 2, 0, 1, 2]))
    assert_sums(fine, full_sums(whole), rtol=1e-13)


def test_what_is_derived_from_the_sums(rng):
    walks = ragged(rng)
    groups = channel_groups("joint", 2, 3)
    goals = ragged(rng)
    stats = collect_lags(
        check_sequences(walks), groups, 6, 2, target=np.concatenate(goals), device=CPU
    )
    lags = stats.lags_of(np.array([-3, -1, 0, 2]))
    np.testing.assert_array_equal(lags, [5, 3, 2, 0])
    basis = offset_basis(4)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-14)
    functional = rng.normal(size=6)
    for g, (rows, y, _) in enumerate(reference.lagged_rows(walks, groups, 6, 2, goals)):
        rotated = rows[:, lags] @ basis
        values = rows @ functional

        def near(got, want):
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11 * np.abs(want).max())

        near(stats.rotated_gram(lags, basis)[g], rotated.T @ rotated)
        near(stats.rotated_moment(lags, basis, None)[g], rotated.T @ y)
        near(stats.rotated_moment(lags, basis, functional)[g], rotated.T @ values)
        near(stats.sum_of_squares(functional)[g], values @ values)


def test_sequences_shorter_than_a_window_and_empty_groups_give_zeros(rng):
    walks = ragged(rng, lengths=(3, 4))
    stats = collect_lags(check_sequences(walks), channel_groups("all", 2, 3), 5, 0, device=CPU)
    assert not stats.gram.any()
    assert not stats.n_windows.any()
    walks = ragged(rng, lengths=(30,))
    walks[0][:, 1] = np.nan
    stats = collect_lags(check_sequences(walks), channel_groups("joint", 2, 3), 5, 0, device=CPU)
    np.testing.assert_array_equal(stats.n_windows, [78, 0])
    assert not stats.gram[1].any()


@pytest.mark.parametrize("where", ["X", "y"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_are_refused(rng, where, value):
    walks, goals = ragged(rng), ragged(rng)
    (walks if where == "X" else goals)[3][17, 1, 2] = value
    with pytest.raises(ValueError, match="must not hold infinite values, got some; mark"):
        collect_lags(
            check_sequences(walks),
            channel_groups("all", 2, 3),
            5,
            0,
            target=np.concatenate(goals),
            device=CPU,
        )


def test_inputs_stay_as_they_were(rng):
    walk = ragged(rng, lengths=(50,), gaps=0.1)[0]
    target, weights = rng.normal(size=walk.shape), rng.random((50, 1))
    target[7] = np.nan
    copies = [array.copy() for array in (walk, target, weights)]
    sequences = check_sequences(walk)
    collect_lags(
        sequences,
        channel_groups("all", 2, 3),
        4,
        0,
        target=target,
        row_weights=weights,
        device=CPU,
    )
    apply_kernels(sequences, [VELOCITY], edges="refit", min_valid=0.0, device=CPU)
    for array, copy in zip((walk, target, weights), copies):
        np.testing.assert_array_equal(array, copy)


def taps(name, **options):
    offsets, weights = fixed_kernel(name, **options)
    return Taps(offsets, weights[np.newaxis])


VELOCITY = taps("velocity")
# Kernels and the orders of their derivatives; windows differ, and two reach into the future.
BANK = [
    (VELOCITY, 1),
    (taps("velocity", causal=False), 1),
    (taps("acceleration"), 2),
    (taps("jerk", causal=False), 3),
    (taps("savgol", n_taps=11), 0),
    (taps("moving_average", n_taps=3, causal=False), 0),
    (Taps(np.array([-8, -3, 0]), np.array([[0.2, -0.5, 0.7]])), 0),
]


def tolerances(dtype):
    return {"rtol": 1e-4, "atol": 2e-4} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-10}


def assert_filters(walks, bank, tolerance, *, edges, min_valid=0.0, confidence=None):
    """Hold the outputs of several kernels to those that every tap by itself gives."""
    got = apply_kernels(
        check_sequences(walks),
        [kernel for kernel, _ in bank],
        edges=edges,
        min_valid=min_valid,
        confidence=None if confidence is None else np.concatenate(confidence),
        device=CPU,
    )
    assert got.shape == (sum(map(len, walks)), *walks[0].shape[1:], len(bank))
    assert got.dtype == walks[0].dtype
    for k, (kernel, order) in enumerate(bank):
        expected = [
            reference.filtered(
                walk,
                kernel.offsets,
                kernel.weights,
                edges=edges,
                min_valid=min_valid,
                order=order,
                confidence=None if confidence is None else confidence[i],
                edge_weights=kernel.edge_weights,
            )
            for i, walk in enumerate(walks)
        ]
        np.testing.assert_allclose(got[..., k], np.concatenate(expected), **tolerance)


SHORT = (1, 2, 5, 11, 40)


def test_orders_of_derivatives_are_found():
    assert [kernel.derivative_order for kernel, _ in BANK] == [order for _, order in BANK]
    assert Taps(np.arange(6), np.array([[-1.0, 5, -10, 10, -5, 1]])).derivative_order == 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gaps", [0.0, 0.15])
@pytest.mark.parametrize("edges", ["nearest", "reflect", "refit"])
def test_filters_are_weighted_sums_of_frames(rng, dtype, gaps, edges):
    walks = ragged(rng, SHORT, dtype=dtype, gaps=gaps)
    assert_filters(walks, BANK, tolerances(dtype), edges=edges)


@pytest.mark.parametrize("min_valid", [0.0, 0.5, 0.8, 1.0])
def test_too_few_frames_give_nan(rng, min_valid):
    walks = ragged(rng, SHORT, gaps=0.3)
    assert_filters(walks, BANK, tolerances(float), edges="refit", min_valid=min_valid)


@pytest.mark.parametrize("n_taps", [1, 2, 4, 5, 6, 9, 10, 13, 31])
@pytest.mark.parametrize("n_kernels", [1, 2, 3, 4])
@pytest.mark.parametrize("own", [False, True])
def test_any_number_of_taps_and_kernels(rng, n_taps, n_kernels, own):
    offsets = np.arange(n_taps) - n_taps // 2
    bank = [
        (Taps(offsets, rng.random((6 if own and k != 1 else 1, n_taps))), 0)
        for k in range(n_kernels)
    ]
    walks = ragged(rng, (33, 8))
    got = apply_kernels(
        check_sequences(walks), [k for k, _ in bank], edges="nearest", min_valid=0.0, device=CPU
    )
    for k, (kernel, _) in enumerate(bank):
        rows = np.broadcast_to(kernel.weights, (6, n_taps))
        expected = [
            np.stack(
                [
                    correlate1d(walk.reshape(-1, 6)[:, c], rows[c], mode="nearest")
                    if n_taps % 2
                    else correlate1d(
                        walk.reshape(-1, 6)[:, c], np.append(rows[c], 0.0), mode="nearest"
                    )
                    for c in range(6)
                ],
                axis=1,
            ).reshape(walk.shape)
            for walk in walks
        ]
        np.testing.assert_allclose(got[..., k], np.concatenate(expected), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gaps", [0.0, 0.15])
def test_channels_with_weights_of_their_own(rng, dtype, gaps):
    bank = [
        (Taps(np.arange(-4, 1), rng.random((6, 5))), 0),
        (Taps(np.array([-1, 0, 1]), rng.random((6, 1)) * [[-0.5, 0.0, 0.5]]), 1),
        (VELOCITY, 1),
    ]
    walks = ragged(rng, SHORT, dtype=dtype, gaps=gaps)
    for edges in ("nearest", "refit"):
        assert_filters(walks, bank, tolerances(dtype), edges=edges)


@pytest.mark.parametrize("columns", [1, 6])
@pytest.mark.parametrize("gaps", [0.0, 0.1])
def test_edges_have_weights_of_their_own(rng, columns, gaps):
    offsets = np.array([-2, -1, 0, 1, 2])
    edge_weights = rng.random((2, 2, columns, 5))
    kernel = Taps(offsets, rng.random((columns, 5)), edge_weights)
    longer = Taps(np.arange(-3, 4), rng.random((1, 7)), rng.random((2, 3, 1, 7)))
    walks = ragged(rng, SHORT, gaps=gaps)
    assert_filters(walks, [(kernel, 0), (longer, 0)], tolerances(float), edges="refit")


def test_weights_of_the_edge_leave_other_kernels_alone(rng):
    own = Taps(np.array([-1, 0, 1]), rng.random((1, 3)), rng.random((2, 1, 1, 3)))
    bank = [(own, 0), (taps("savgol", n_taps=7, causal=False), 0)]
    assert_filters(ragged(rng, SHORT), bank, tolerances(float), edges="refit")


@pytest.mark.parametrize("edges", ["nearest", "reflect", "refit"])
@pytest.mark.parametrize("gaps", [0.0, 0.1])
def test_confidences_are_frames_in_part(rng, edges, gaps):
    walks = ragged(rng, SHORT, gaps=gaps)
    confidence = [
        np.where(rng.random((n, 2)) < 0.2, 0.0, rng.uniform(0.1, 1, (n, 2))) for n in SHORT
    ]
    assert_filters(walks, BANK, tolerances(float), edges=edges, confidence=confidence)
    assert_filters(
        walks, BANK, tolerances(float), edges=edges, min_valid=0.6, confidence=confidence
    )


def test_full_confidence_is_none_and_no_confidence_is_a_gap(rng):
    walks = ragged(rng, SHORT)
    kernels = [kernel for kernel, _ in BANK]
    is_gap = rng.random((sum(SHORT), 2)) < 0.2
    with_gaps = np.where(is_gap[..., None], np.nan, np.concatenate(walks))

    def run(frames, confidence):
        parts = np.split(frames, np.cumsum(SHORT)[:-1])
        return apply_kernels(
            check_sequences(parts),
            kernels,
            edges="refit",
            min_valid=0.5,
            confidence=confidence,
            device=CPU,
        )

    frames = np.concatenate(walks)
    ones = np.ones(is_gap.shape)
    np.testing.assert_allclose(run(frames, ones), run(frames, None), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        run(frames, 1.0 - is_gap), run(with_gaps, None), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["nearest", "reflect"])
def test_long_sequences_and_short_windows_as_scipy(rng, dtype, mode):
    walk = rng.normal(size=(10_000, 1, 1)).astype(dtype)
    weights = rng.random(9)
    got = apply_kernels(
        check_sequences(walk),
        [Taps(np.arange(-4, 5), weights[np.newaxis])],
        edges=mode,
        min_valid=1.0,
        device=CPU,
    )
    expected = correlate1d(walk.astype(float), weights, axis=0, mode=mode)
    np.testing.assert_allclose(got[..., 0], expected, **tolerances(dtype))


def test_threads_do_not_change_a_bit_of_the_output(rng):
    walks = ragged(rng, (3000, 7, 1200), dtype=np.float32, gaps=0.02)
    one, two = (
        apply_kernels(
            check_sequences(walks),
            [kernel for kernel, _ in BANK],
            edges="refit",
            min_valid=0.5,
            n_jobs=n_jobs,
            device=CPU,
        )
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("edges", ["nearest", "refit"])
@pytest.mark.parametrize("frame", [0, 6, 12])
@pytest.mark.parametrize("with_confidence", [False, True])
def test_infinite_frames_are_refused(rng, edges, frame, with_confidence):
    walk = rng.normal(size=(13, 2, 1))
    walk[frame, 1] = -np.inf
    with pytest.raises(ValueError, match="X must not hold infinite values; mark missing"):
        apply_kernels(
            check_sequences(walk),
            [VELOCITY],
            edges=edges,
            min_valid=0.5,
            confidence=np.ones((13, 2)) if with_confidence else None,
            device=CPU,
        )


def test_what_stands_still_or_moves_evenly_is_not_disturbed_by_gaps(rng):
    time = np.arange(60.0)[:, None, None]
    line = np.where(rng.random((60, 3, 2)) < 0.3, np.nan, 5.0 + 0.25 * time)
    got = apply_kernels(
        check_sequences(line),
        [taps("savgol_velocity", n_taps=7, causal=False), taps("savgol", n_taps=7, causal=False)],
        edges="refit",
        min_valid=0.25,
        device=CPU,
    )
    known = ~np.isnan(got)
    assert known.mean() > 0.95
    velocity, position = np.moveaxis(got, -1, 0)
    np.testing.assert_allclose(velocity[known[..., 0]], 0.25, rtol=1e-10)
    exact = np.broadcast_to(5.0 + 0.25 * time, position.shape)
    np.testing.assert_allclose(position[known[..., 1]], exact[known[..., 1]], rtol=1e-10)
