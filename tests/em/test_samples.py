"""Samples: what counts, in which pieces, and that nothing is copied or compiled in vain."""

import numpy as np
import pytest

from fastmotion.em import samples as module
from fastmotion.em.gaussians import COVARIANCE_TYPES, Gaussians
from fastmotion.em.kernels import cpu
from fastmotion.em.samples import Samples, normalise
from tests.reference import mixture as reference

KERNELS = (
    cpu.statistics_full,
    cpu.statistics_diag,
    cpu.log_densities_full,
    cpu.log_densities_diag,
)


def some_gaussians(covariance_type="full", n_components=3, n_features=2):
    matrices = np.repeat(np.eye(n_features)[None], n_components, axis=0)
    means = np.arange(n_components * n_features, dtype=float).reshape(n_components, n_features)
    return Gaussians.from_covariances(
        means, reference.packed(matrices, covariance_type), covariance_type
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_known_counts(rng, weighted):
    X = rng.normal(size=(10, 2))
    X[:3, 0] = np.nan
    X[2:5, 1] = np.nan
    weight = np.arange(1.0, 11.0) if weighted else None
    samples = Samples(X, weight)
    assert not samples.is_complete
    assert samples.is_known.tolist() == [True] * 2 + [False] + [True] * 7
    assert samples.n_known == 9
    assert samples.total_weight == (52 if weighted else 9)


def test_complete_samples_all_count(rng):
    samples = Samples(rng.normal(size=(10, 2)))
    assert samples.is_complete and samples.is_known.all()
    assert samples.n_known == len(samples) == samples.total_weight == 10


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("n_samples", [1, module._PIECE, module._PIECE + 1, 300_000])
def test_densities_come_in_pieces_that_do_not_grow_with_the_samples(rng, n_samples, gaps):
    X = rng.normal(size=(n_samples, 2))
    if gaps:
        X[::3, 0] = np.nan
    samples, asked, told = Samples(X, n_jobs=1), np.zeros(n_samples, int), np.zeros(n_samples, int)
    log_norms = np.empty(n_samples)

    def consume(rows, log_densities):
        assert len(log_densities) <= module._PIECE
        told[rows] += 1
        log_norms[rows] = normalise(log_densities)

    def responsibilities(rows):
        asked[rows] += 1
        assert (n := np.count_nonzero(asked) - responsibilities.before) <= module._PIECE
        responsibilities.before += n
        return np.full((n, 3), 0.5)

    responsibilities.before = 0
    samples.evaluate(some_gaussians(), np.log(np.full(3, 1 / 3)), consume)
    assert (told == 1).all()
    moments = samples.moments(some_gaussians(), responsibilities)
    assert (asked == 1).all()
    np.testing.assert_allclose(moments.counts, 0.5 * n_samples)
    _, total = samples.statistics(some_gaussians(), np.log(np.full(3, 1 / 3)))
    assert log_norms.sum() == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_read_only_samples_and_weights_compile_nothing_again(rng, covariance_type):
    X, weight = rng.normal(size=(300, 2)), rng.uniform(1, 2, 300)
    gaussians, log_weights = some_gaussians(covariance_type), np.zeros(3)

    def run():
        samples = Samples(X, weight)
        samples.evaluate(gaussians, log_weights, lambda rows, log_densities: None)
        return samples.statistics(gaussians, log_weights)[1]

    expected = run()
    before = [len(kernel.dispatcher.signatures) for kernel in KERNELS]
    X.flags.writeable = weight.flags.writeable = False
    assert run() == expected
    assert [len(kernel.dispatcher.signatures) for kernel in KERNELS] == before
    assert sum(before) > 0
