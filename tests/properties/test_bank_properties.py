"""What holds of banks of motion kernels and of their pooled features."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmotion.trajectory import MotionKernelBank
from fastmotion.trajectory.pooling import POOLS, cell_names, pool
from tests.reference import bank as reference

some = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@some
@given(
    lengths=st.lists(st.integers(4, 40), min_size=1, max_size=6),
    pools=st.lists(st.sampled_from(POOLS), min_size=1, max_size=3, unique=True),
    pyramid=st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True),
    share_missing=st.sampled_from([0.0, 0.3, 0.95]),
    seed=st.integers(0, 2**32 - 1),
)
def test_pooling_equals_statistics_in_loops(lengths, pools, pyramid, share_missing, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(3.0, size=(2, sum(lengths), 3))
    values[rng.random(values.shape) < share_missing] = np.nan
    got = pool(values, np.array(lengths), pools, pyramid)
    assert got.shape == (len(lengths), 2, 3, len(pools), len(cell_names(pyramid)))
    parts = np.split(values, np.cumsum(lengths)[:-1], axis=1)
    for features, part in zip(got, parts):
        outputs = part.transpose(1, 2, 0)[:, :, np.newaxis]  # frame, joint, coord, kernel
        expected = reference.pooled(outputs, pools, pyramid, np.nan)
        np.testing.assert_allclose(features.ravel(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("similarity", ["weights", "outputs"])
@some
@given(
    scales=st.lists(st.integers(1, 7), min_size=2, max_size=4, unique=True),
    penalty=st.floats(1e-3, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_sweep_raises_the_objective(similarity, scales, penalty, seed):
    rng = np.random.default_rng(seed)
    X = np.cumsum(rng.normal(size=(2, 60, 2, 1)), axis=1) + rng.normal(size=(2, 60, 2, 1))
    bank = MotionKernelBank(
        scales, cross_scale_penalty=penalty, similarity=similarity, alpha=0.01
    ).fit(X)
    trace = bank.objective_trace_
    assert (np.diff(trace) <= 1e-12 * trace[:-1]).all()
    assert np.isfinite(bank.similarity_).all()
    for _, weights in bank.kernels_:
        assert weights.sum() == pytest.approx(1)


@some
@given(
    learned=st.sampled_from(["next", "class"]),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-1e3, 1e3),
    seed=st.integers(0, 2**32 - 1),
)
def test_neither_unit_nor_origin_matters(learned, scale, shift, seed):
    rng = np.random.default_rng(seed)
    X = np.cumsum(rng.normal(size=(4, 40, 2, 2)), axis=1)
    y = [0, 1, 0, 1]
    plain = MotionKernelBank(learned=learned, alpha=0.1).fit(X, y)
    moved = MotionKernelBank(learned=learned, alpha=0.1).fit(scale * (X + shift), y)
    for (_, weights), (_, others) in zip(plain.kernels_, moved.kernels_):
        np.testing.assert_allclose(weights, others, atol=1e-5)
