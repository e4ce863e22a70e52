"""What holds of motion kernels, whatever the trajectories."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmotion.trajectory import MotionKernel
from fastmotion.trajectory.filtering import EDGES
from fastmotion.trajectory.lags import SHARING

some = settings(max_examples=40, deadline=None, derandomize=True, database=None)

seeds = st.integers(0, 2**32 - 1)


def walks(seed, lengths, joints=(2, 2)):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, *joints)).cumsum(axis=0) for n in lengths]


def lose(X, share, seed):
    rng = np.random.default_rng(seed)
    return [np.where(rng.random(x.shape[:2])[..., None] < share, np.nan, x) for x in X]


kernels = st.builds(
    MotionKernel,
    st.integers(1, 6),
    causal=st.booleans(),
    dilation=st.integers(1, 2),
    sharing=st.sampled_from(SHARING),
    edges=st.sampled_from(EDGES),
    min_valid=st.floats(0.05, 1.0),
    fit_intercept=st.booleans(),
    alpha=st.just(1e-3),
)


@some
@given(kernels, seeds, st.sampled_from([0.05, 0.2, 0.5]))
def test_missing_frames_never_spread_beyond_what_min_valid_allows(kernel, seed, share):
    kernel.fit(walks(seed, (60, 60)))
    X = lose(walks(seed + 1, (40, 23)), share, seed)
    offsets = kernel.offsets_
    first = -offsets[0] if kernel.edges == "valid" else 0
    for x, given_values in zip(X, kernel.transform(X)):
        n = len(x)
        for t, values in enumerate(given_values, first):
            places = t + offsets
            cut_off = (places < 0) | (places >= n)
            if kernel.edges == "nearest":
                places = np.clip(places, 0, n - 1)
            elif kernel.edges == "reflect":
                places = np.where(places < 0, -1 - places, places)
                places = np.where(places >= n, 2 * n - 1 - places, places)
            elif cut_off.any():
                places = places[~cut_off]
            there = ~np.isnan(x[places]).any(axis=-1)
            n_taps = (
                len(places) if kernel.edges in ("nearest", "reflect", "refit") else len(offsets)
            )
            enough = there.sum(axis=0) >= kernel.min_valid * n_taps - 1e-9
            known = np.isfinite(values).all(axis=-1)
            np.testing.assert_array_equal(known, enough & there.any(axis=0))


@some
@given(kernels, seeds, st.sampled_from([0.05, 0.3]))
def test_what_stands_still_stays_with_any_frames_missing(kernel, seed, share):
    kernel.set_params(fit_intercept=False, residual=True, prior="hold", alpha=1.0)
    kernel.fit(walks(seed, (60, 60)))
    still = lose([np.full((30, 2, 2), 5.0)], share, seed)
    given_values = kernel.transform(still)[0]
    np.testing.assert_allclose(given_values[np.isfinite(given_values)], 5.0, rtol=1e-8)


@some
@given(kernels, seeds, st.floats(-1e3, 1e3), st.floats(0.1, 10.0))
def test_shift_and_scale_go_through_a_residual_kernel(kernel, seed, shift, scale):
    kernel.set_params(residual=True, alpha=0.0, fit_intercept=False, dilation=1)
    X = walks(seed, (60, 60))
    moved = [scale * x + shift for x in X]
    plain = kernel.fit(X).transform(X)
    coef = kernel.coef_
    others = kernel.fit(moved).transform(moved)
    np.testing.assert_allclose(kernel.coef_, coef, atol=1e-7)
    for one, other in zip(plain, others):
        np.testing.assert_allclose(other, scale * one + shift, atol=1e-4)


@some
@given(kernels, seeds, st.integers(1, 3), st.integers(1, 40))
def test_parts_are_the_whole(kernel, seed, n_first, cut):
    kernel.set_params(alpha=1.0)
    X = lose(walks(seed, (50, 45, 30, 20)), 0.02, seed)
    whole = kernel.fit(X).coef_
    kernel.fit(X[:n_first]).partial_fit(X[n_first:])
    np.testing.assert_allclose(kernel.coef_, whole, atol=1e-8)
    merged = MotionKernel(**kernel.get_params()).fit(X[n_first:])
    merged.merge(MotionKernel(**kernel.get_params()).fit(X[:n_first]))
    np.testing.assert_allclose(merged.coef_, whole, atol=1e-8)
    one = [X[0]]
    span = kernel.statistics_.n_lags
    begin = max(cut, 3 * span)
    if begin < 50:
        whole = kernel.fit(one).coef_
        kernel.fit([X[0][:begin]]).partial_fit([X[0][begin:]], continued=True)
        np.testing.assert_allclose(kernel.coef_, whole, atol=1e-8)


@some
@given(kernels, seeds)
def test_predictions_do_not_see_the_future(kernel, seed):
    kernel.set_params(causal=True, edges="refit")
    X = walks(seed, (60, 60))
    kernel.fit(X)
    changed = X[0].copy()
    changed[30:] += 100.0
    before, after = kernel.transform(X[0]), kernel.transform(changed)
    np.testing.assert_array_equal(before[:30], after[:30])


@some
@given(kernels, seeds)
def test_least_squares_is_the_least(kernel, seed):
    kernel.set_params(alpha=0.0, fit_intercept=False, edges="valid", sharing="all")
    X = walks(seed, (60, 60))
    best = kernel.fit(X).score(X)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        kernel.coef_ = kernel.coef_ + rng.normal(scale=0.01, size=kernel.coef_.shape)
        assert kernel.score(X) <= best + 1e-12
