"""What holds of the search for the number of components whatever the samples are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmotion.em.gaussians import COVARIANCE_TYPES
from fastmotion.mixture.selection import CRITERIA, select_components
from tests.reference import mixture as reference

pytestmark = pytest.mark.filterwarnings("ignore:the criterion is least at max_components")

some = settings(max_examples=15, deadline=None, derandomize=True, database=None)
types, criteria = st.sampled_from(COVARIANCE_TYPES), st.sampled_from(CRITERIA)


@st.composite
def samples(draw):
    """Draw samples: some in classes, some tied, some of them again and again."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_samples, n_features = draw(st.integers(2, 150)), draw(st.integers(1, 4))
    X = rng.normal(size=(n_samples, n_features)) * 10.0 ** rng.integers(-3, 4, n_features)
    X += draw(st.sampled_from([0, 5])) * X.std(0) * rng.integers(0, 3, n_samples)[:, None]
    if draw(st.booleans()):
        X = np.round(X)
    if draw(st.booleans()):
        X = X[rng.integers(0, n_samples, n_samples)]
    return X


@some
@given(X=samples(), covariance_type=types, criterion=criteria, seed=st.integers(0, 99))
def test_every_candidate_is_a_mixture_of_the_likelihood_reported(
    X, covariance_type, criterion, seed
):
    result = select_components(
        X,
        max_components=6,
        covariance_type=covariance_type,
        criterion=criterion,
        reg_covar=1e-3,
        random_state=seed,
    )
    assert 1 in result.candidates
    assert set(result.candidates) == set(result.criterion_path) <= set(range(1, 7))
    assert result.criterion_path[result.n_components] == min(result.criterion_path.values())
    for k, mixture in result.candidates.items():
        gaussians = mixture.gaussians
        assert mixture.weights.sum() == pytest.approx(1)
        assert mixture.weights.min() > 0
        assert np.isfinite(result.criterion_path[k])
        expected = reference.expectation(
            X, reference.Mixture(mixture.weights, gaussians.means, gaussians.full_covariances())
        )[0].sum()
        assert result.log_likelihoods[k] == pytest.approx(expected, rel=1e-6, abs=1e-3)


@some
@given(
    powers=st.tuples(*[st.integers(-20, 20)] * 2),
    covariance_type=st.sampled_from(["full", "tied", "diag"]),
    criterion=criteria,
    seed=st.integers(0, 99),
)
def test_the_unit_of_a_feature_does_not_matter(powers, covariance_type, criterion, seed):
    X, _ = reference.samples(200, 3, 2, seed=seed, distance=3.0)
    scale = 2.0 ** np.array(powers)
    options = {
        "max_components": 5,
        "covariance_type": covariance_type,
        "criterion": criterion,
        "reg_covar": 0.0,
        "random_state": seed,
    }
    expected, result = (select_components(x, **options) for x in (X, X * scale))
    assert result.n_components == expected.n_components
    change = 2 * len(X) * np.log(scale).sum()
    for k, value in expected.criterion_path.items():
        assert result.criterion_path[k] == pytest.approx(value + change, abs=1e-2)
    np.testing.assert_allclose(
        result.best.gaussians.means, expected.best.gaussians.means * scale, rtol=1e-3
    )
