"""Sums of least-squares problems: accumulated, merged, solved, refined."""

import pickle

import numpy as np
import pytest

from fastmotion.linear import NormalEquations
from tests.reference import linear as reference

TERMS = [
    {},
    {"alpha": 3.0},
    {"alpha": 3.0, "prior": [1.0, -1.0, 0.5, 0.0, 2.0]},
    {"smoothness": 2.0},
    {"smoothness": 2.0, "smoothness_order": 2},
    {"constraints": [[1.0] * 5, [0.0, 1, 2, 3, 4]], "values": [1.0, -2.0]},
    {"alpha": 0.5, "smoothness": 2.0, "constraints": [[1.0] * 5], "values": [1.0]},
]
each_terms = pytest.mark.parametrize("terms", TERMS, ids=lambda terms: "-".join(terms) or "plain")


@pytest.fixture
def samples(rng):
    """Return features, targets and weights, some of them zero, far more rows than fit a block."""
    A = rng.normal(size=(60_000, 5)) * [1, 10, 0.1, 1, 5]
    b = A @ rng.normal(size=(5, 2)) + rng.normal(size=(60_000, 2))
    return A, b, rng.integers(0, 4, size=60_000).astype(float)


def test_sums(samples):
    A, b, weight = samples
    equations = NormalEquations()
    assert equations.update(A, b, weight) is equations
    np.testing.assert_allclose(equations.gram, (A.T * weight) @ A, rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(equations.moment, (A.T * weight) @ b, rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(equations.energy, weight @ b**2, rtol=1e-12)
    assert (equations.n_samples, equations.weight_sum) == (len(A), weight.sum())


@each_terms
def test_solution_equals_the_reference(samples, terms):
    A, b, weight = (x[:200] for x in samples)
    coef = NormalEquations().update(A, b, weight).solve(**terms)
    expected = [reference.coefficients(A, target, weight=weight, **terms) for target in b.T]
    reference.assert_close(coef, np.transpose(expected))


@each_terms
def test_solution_of_one_target_is_a_vector(samples, terms):
    A, b, _ = (x[:200] for x in samples)
    equations = NormalEquations().update(A, b[:, 0])
    coef = equations.solve(**terms)
    assert coef.shape == equations.moment.shape == (5,)
    assert isinstance(equations.energy, float)
    reference.assert_close(coef, reference.coefficients(A, b[:, 0], **terms))


def test_priors_and_values_of_their_own_for_each_output(samples, rng):
    A, b, _ = (x[:50] for x in samples)
    prior, values = rng.normal(size=(5, 2)), rng.normal(size=(1, 2))
    constraints = np.ones((1, 5))
    coef = (
        NormalEquations()
        .update(A, b)
        .solve(alpha=10, prior=prior, constraints=constraints, values=values)
    )
    for i in range(2):
        expected = reference.coefficients(
            A, b[:, i], constraints, values[:, i], alpha=10, prior=prior[:, i]
        )
        reference.assert_close(coef[:, i], expected)


def test_a_strong_ridge_gives_the_prior(samples):
    A, b, _ = samples
    prior = np.arange(5.0)
    coef = NormalEquations().update(A, b).solve(alpha=1e25, prior=prior)
    np.testing.assert_allclose(coef, np.stack([prior, prior], axis=1), atol=1e-12)


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e6])
def test_refinement_reaches_lstsq(rng, condition):
    A = reference.matrix_of_condition(rng, (300, 12), condition)
    b = A @ rng.normal(size=(12, 2))
    equations = NormalEquations().update(A, b)
    assert equations.condition_number() == pytest.approx(condition**2, rel=1e-2)
    coef = equations.solve()
    for _ in range(2):
        coef = equations.refine(coef, equations.residual_moment(coef, A, b))
    expected = np.linalg.lstsq(A, b, rcond=None)[0]
    np.testing.assert_allclose(coef, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@each_terms
def test_refinement_by_blocks_keeps_penalties_and_constraints(samples, terms):
    A, b, weight = (x[:400] for x in samples)
    A = A @ reference.matrix_of_condition(np.random.default_rng(0), (5, 5), 1e4)
    equations = NormalEquations().update(A, b, weight)
    coef = equations.solve(**terms)
    moment = sum(
        equations.residual_moment(coef, A[rows], b[rows], weight[rows])
        for rows in (slice(0, 150), slice(150, 400))
    )
    refined = equations.refine(coef, moment, **terms)
    rows, right = reference.penalised_rows(
        A, b[:, 0], weight, **{k: v for k, v in terms.items() if k not in ("constraints", "values")}
    )
    gradient = rows.T @ (right - rows @ refined[:, 0])
    if "constraints" in terms:
        constraints = np.array(terms["constraints"])
        np.testing.assert_allclose(constraints @ refined[:, 0], terms["values"], rtol=1e-10)
        multipliers = np.linalg.lstsq(constraints.T, gradient, rcond=None)[0]
        gradient -= constraints.T @ multipliers
    np.testing.assert_allclose(gradient, 0, atol=1e-12 * (np.abs(rows.T) @ np.abs(right)).max())


def test_refinement_removes_the_error_of_any_coefficients(samples):
    A, b, weight = (x[:400] for x in samples)
    equations = NormalEquations().update(A, b, weight)
    coef = np.ones((5, 2))
    refined = equations.refine(coef, equations.residual_moment(coef, A, b, weight))
    reference.assert_close(refined, equations.solve())


@pytest.mark.parametrize("has_weights", [False, True])
def test_merge_equals_the_whole(samples, has_weights):
    A, b, weight = samples
    weight = weight if has_weights else np.ones(len(A))
    whole = NormalEquations().update(A, b, weight)
    parts = [
        NormalEquations().update(A[i::3], b[i::3], weight[i::3] if has_weights else None)
        for i in range(3)
    ]
    merged = NormalEquations().merge(parts[0]).merge(parts[1]).merge(parts[2])
    for other in (merged, parts[0] + parts[1] + parts[2], sum(parts, NormalEquations())):
        reference.assert_close(other.solve(), whole.solve())
        assert (other.n_samples, other.weight_sum) == (whole.n_samples, whole.weight_sum)


def test_adding_and_merging_leave_the_other_alone(samples):
    A, b, _ = (x[:100] for x in samples)
    first, second = NormalEquations().update(A, b), NormalEquations().update(2 * A, b)
    grams = first.gram.copy(), second.gram.copy()
    total = first + second
    NormalEquations().merge(first).update(A, b)
    total.update(A, b)
    np.testing.assert_array_equal(first.gram, grams[0])
    np.testing.assert_array_equal(second.gram, grams[1])


def test_merge_with_empty_ones(samples):
    A, b, _ = (x[:100] for x in samples)
    equations = NormalEquations().update(A, b)
    gram = equations.gram
    assert equations.merge(NormalEquations()) is equations
    np.testing.assert_array_equal(equations.gram, gram)
    np.testing.assert_array_equal((NormalEquations() + equations).gram, gram)


def test_sums_made_elsewhere(samples):
    A, b, weight = (x[:100] for x in samples)
    gram = (A.T * weight) @ A
    made = NormalEquations.from_moments(gram, (A.T * weight) @ b, weight @ b**2, 100, weight.sum())
    updated = NormalEquations().update(A, b, weight)
    reference.assert_close(made.solve(alpha=1), updated.solve(alpha=1))
    assert (made.n_samples, made.weight_sum) == (100, weight.sum())
    gram[:] = 0
    np.testing.assert_allclose(made.gram, updated.gram, rtol=1e-11, atol=1e-9)
    assert NormalEquations.from_moments(np.eye(2), [1, 2], 3, 7).weight_sum == 7


def test_residual_sum_of_squares(samples, rng):
    A, b, weight = samples
    coef = rng.normal(size=(5, 2))
    squares = NormalEquations().update(A, b, weight).residual_sum_of_squares(coef)
    reference.assert_close(squares, weight @ (b - A @ coef) ** 2)
    single = NormalEquations().update(A, b[:, 0], weight).residual_sum_of_squares(coef[:, 0])
    assert isinstance(single, float) and single == pytest.approx(squares[0], rel=1e-12)


def test_residual_of_an_exact_fit_is_not_negative(rng):
    for _ in range(20):
        A, coef = rng.normal(size=(10, 3)), rng.normal(size=3)
        squares = NormalEquations().update(A, A @ coef).residual_sum_of_squares(coef)
        assert 0 <= squares < 1e-12


def test_condition_number(rng):
    A = rng.normal(size=(20, 4))
    expected = np.linalg.cond(A.T @ A)
    assert NormalEquations().update(A, A[:, 0]).condition_number() == pytest.approx(expected)
    A[:, 1] = A[:, 0]
    assert NormalEquations().update(A, A[:, 0]).condition_number() == np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8, bool])
def test_other_dtypes_are_converted_exactly(rng, dtype):
    A, b = rng.uniform(0, 9, size=(60, 3)).astype(dtype), rng.uniform(0, 9, size=60).astype(dtype)
    equations = NormalEquations().update(A, b)
    np.testing.assert_array_equal(
        equations.gram, NormalEquations().update(A.astype(float), b.astype(float)).gram
    )
    assert equations.solve().dtype == np.float64


def test_float32_is_not_converted_as_a_whole(rng):
    import tracemalloc

    A = rng.normal(size=(400_000, 10)).astype(np.float32)
    b = np.ones(400_000, np.float32)
    tracemalloc.start()
    NormalEquations().update(A, b)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < A.nbytes / 2


@pytest.mark.parametrize(
    "view",
    [np.asfortranarray, lambda x: np.repeat(x, 2, axis=1)[:, ::2], lambda x: x[::-1][::-1]],
)
def test_layout_does_not_matter(samples, view):
    A, b, weight = (x[:300] for x in samples)
    expected = NormalEquations().update(A, b, weight).gram
    A, b, weight = view(A), view(b), weight.copy()
    for x in (A, b, weight):
        x.flags.writeable = False
    np.testing.assert_array_equal(NormalEquations().update(A, b, weight).gram, expected)


def test_weight_zero_is_absence_and_two_is_twice(samples):
    A, b, weight = (x[:300] for x in samples)
    repeated = np.repeat(np.arange(300), weight.astype(int))
    weighted = NormalEquations().update(A, b, weight)
    plain = NormalEquations().update(A[repeated], b[repeated])
    reference.assert_close(weighted.solve(), plain.solve())


def test_no_samples_give_shape_only():
    equations = NormalEquations().update(np.empty((0, 3)), np.empty(0))
    np.testing.assert_array_equal(equations.solve(), np.zeros(3))
    np.testing.assert_array_equal(equations.solve(alpha=1, prior=[1, 2, 3]), [1, 2, 3])


def test_results_cannot_change_the_sums(samples):
    A, b, _ = (x[:100] for x in samples)
    equations = NormalEquations().update(A, b)
    for part in (equations.gram, equations.moment, equations.energy):
        with pytest.raises(ValueError, match="read-only"):
            part[...] = 0


def test_pickle_and_repr(samples):
    A, b, _ = (x[:100] for x in samples)
    equations = NormalEquations().update(A, b)
    copy = pickle.loads(pickle.dumps(equations))
    np.testing.assert_array_equal(copy.solve(), equations.solve())
    assert repr(copy) == "<NormalEquations: 100 samples, moment of shape (5, 2)>"
    assert repr(NormalEquations()) == "<NormalEquations: 0 samples, empty>"


A, B = np.eye(3), np.ones(3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((A[0], B), r"A must have 2 dimension\(s\), got shape \(3,\)"),
        ((A, B[:2]), "A and b must have as many rows, got 3 and 2"),
        ((A[:, :0], B), "A and b must have columns"),
        ((A[:, :2], B), r"shape of the equations, .* \(3,\), got one of \(2,\)"),
        ((A, B[:, None]), r"got one of \(3, 1\)"),
        ((A * np.nan, B), r"A must be finite, got nan at index \(0, 0\) \(9 such values\)"),
        ((A, B * np.inf), "b must be finite, got inf"),
        ((A * 1e200, B), "the sums of squares overflow"),
        ((A, B, B[:2]), "weight must have one entry per sample, 3, got 2"),
        ((A, B, -B), "weight must not be negative, got -1"),
        ((A, B, B * np.nan), "weight must be finite"),
    ],
)
def test_bad_samples_leave_the_sums_alone(arguments, message):
    equations = NormalEquations().update(A, B)
    with pytest.raises(ValueError, match=message):
        equations.update(*arguments)
    np.testing.assert_array_equal(equations.gram, A)
    assert equations.n_samples == 3


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        ({"alpha": -1}, ValueError, "alpha must be finite and at least 0, got -1"),
        ({"alpha": np.nan}, ValueError, "alpha must be finite"),
        ({"alpha": [1, 2, 3]}, TypeError, "alpha must be a number"),
        ({"alpha": 1, "prior": [1, 2]}, ValueError, "prior must have shape"),
        ({"alpha": 1, "prior": [1, 2, np.nan]}, ValueError, "prior must be finite"),
        ({"smoothness": -1}, ValueError, "smoothness must be finite and at least 0"),
        ({"smoothness_order": 3}, ValueError, "smoothness_order must be 1 or 2, got 3"),
        ({"constraints": [[1, 2]]}, ValueError, "constraints must have one column per feature"),
        ({"values": [1]}, ValueError, "values were given without constraints"),
    ],
)
def test_bad_terms(terms, error, message):
    equations = NormalEquations().update(A, B)
    with pytest.raises(error, match=message):
        equations.solve(**terms)
    with pytest.raises(error, match=message):
        equations.refine(B, B, **terms)


@pytest.mark.parametrize(
    "use",
    [
        lambda equations: equations.solve(),
        lambda equations: equations.gram,
        lambda equations: equations.moment,
        lambda equations: equations.energy,
        lambda equations: equations.condition_number(),
        lambda equations: equations.residual_sum_of_squares(B),
        lambda equations: equations.residual_moment(B, A, B),
        lambda equations: equations.refine(B, B),
    ],
)
def test_empty_equations_say_so(use):
    with pytest.raises(ValueError, match=r"the equations are empty; call update\(A, b\) first"):
        use(NormalEquations())


def test_merge_refuses_what_does_not_fit():
    equations = NormalEquations().update(A, B)
    with pytest.raises(ValueError, match="other must be of the shape of the equations"):
        equations.merge(NormalEquations().update(A, A))
    with pytest.raises(TypeError, match="other must be NormalEquations, got ndarray"):
        equations.merge(A)
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = equations + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((A, [1, 2], 1, 3), r"gram must have shape \(2, 2\), .* got \(3, 3\)"),
        ((A, B, [1, 2], 3), r"energy must have shape \(\), .* got \(2,\)"),
        ((A + np.triu(A + 1), B, 1, 3), "gram must be symmetric"),
        ((A, B, 1, -3), "n_samples must be finite and at least 0"),
        ((A, B, 1, 3, np.nan), "weight_sum must be finite"),
    ],
)
def test_bad_sums_made_elsewhere(arguments, message):
    with pytest.raises(ValueError, match=message):
        NormalEquations.from_moments(*arguments)
