"""What holds of least squares for any samples, tried on random ones."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmotion.linear import LeastSquares, NormalEquations
from tests.reference import linear as reference

few = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@st.composite
def problems(draw):
    """Return well-posed features, targets and weights of float32 or float64."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_features = draw(st.integers(1, 6))
    n_samples = draw(st.integers(5 * n_features + 5, 200))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    A = rng.normal(size=(n_samples, n_features)).astype(dtype)
    b = rng.normal(size=(n_samples, draw(st.integers(1, 3)))).astype(dtype)
    return A, b, rng.uniform(0.1, 2, size=n_samples)


def solved(A, b, weight, **terms):
    return NormalEquations().update(A, b, weight).solve(**terms)


@few
@given(problems(), st.floats(0, 10), st.floats(0, 10))
def test_equal_to_the_reference(problem, alpha, smoothness):
    A, b, weight = problem
    coef = solved(A, b, weight, alpha=alpha, smoothness=smoothness)
    for i in range(b.shape[1]):
        expected = reference.coefficients(
            A, b[:, i], weight=weight, alpha=alpha, smoothness=smoothness
        )
        reference.assert_close(coef[:, i], expected, 1e-10)


@few
@given(problems(), st.lists(st.floats(0, 1), max_size=5))
def test_parts_merge_into_the_whole(problem, cuts):
    A, b, weight = problem
    whole = LeastSquares().fit(A, b, weight)
    bounds = sorted({0, len(A), *(int(cut * len(A)) for cut in cuts)})
    parts = [slice(*pair) for pair in zip(bounds[:-1], bounds[1:])]
    models = [LeastSquares().fit(A[rows], b[rows], weight[rows]) for rows in parts]
    equations = sum(
        (NormalEquations().update(A[rows], b[rows], weight[rows]) for rows in parts),
        NormalEquations(),
    )
    for model in models[1:]:
        models[0].merge(model)
    reference.assert_close(models[0].coef_, whole.coef_, 1e-10)
    np.testing.assert_allclose(models[0].intercept_, whole.intercept_, rtol=1e-9, atol=1e-11)
    reference.assert_close(equations.solve(), solved(A, b, weight))


@few
@given(problems(), st.integers(0, 100))
def test_the_order_of_samples_does_not_matter(problem, seed):
    A, b, weight = problem
    order = np.random.default_rng(seed).permutation(len(A))
    reference.assert_close(solved(A[order], b[order], weight[order]), solved(A, b, weight))


@few
@given(problems(), st.floats(-6, 6), st.floats(-6, 6), st.floats(-6, 6))
def test_scales_pass_through(problem, feature_scale, target_scale, weight_scale):
    A, b, weight = np.float64(problem[0]), np.float64(problem[1]), problem[2]
    a, t, w = 10**feature_scale, 10**target_scale, 10**weight_scale
    scaled = solved(a * A, t * b, w * weight, alpha=w * a**2)
    reference.assert_close(scaled * (a / t), solved(A, b, weight, alpha=1.0), 1e-10)


@few
@given(problems(), st.floats(-1e5, 1e5), st.floats(-1e5, 1e5))
def test_shifts_move_the_intercept_only(problem, feature_shift, target_shift):
    A, b, weight = np.float64(problem[0]), np.float64(problem[1]), problem[2]
    model = LeastSquares(alpha=0.5).fit(A, b, weight)
    shifted = LeastSquares(alpha=0.5).fit(A + feature_shift, b + target_shift, weight)
    reference.assert_close(shifted.coef_, model.coef_, 1e-8)
    np.testing.assert_allclose(
        shifted.predict(A + feature_shift), model.predict(A) + target_shift, atol=1e-8
    )


@few
@given(problems(), st.floats(-5, 5))
def test_constraints_hold_and_cost_no_more_than_they_must(problem, value):
    A, b, weight = problem
    equations = NormalEquations().update(A, b, weight)
    ones = np.ones((1, A.shape[1]))
    coef = equations.solve(constraints=ones, values=[value])
    np.testing.assert_allclose(coef.sum(axis=0), value, atol=1e-12)
    # No step within the constraints descends: the gradient is the same in all directions.
    gradient = equations.moment - equations.gram @ coef
    np.testing.assert_allclose(gradient - gradient.mean(axis=0), 0, atol=1e-9)
