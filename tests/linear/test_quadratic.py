"""The solver of quadratic forms with constraints."""

import numpy as np
import pytest

from fastmotion.linear import solve_quadratic
from tests.reference import linear as reference


def saddle_point(gram, moment, constraints, values):
    size = len(constraints)
    matrix = np.block([[gram, constraints.T], [constraints, np.zeros((size, size))]])
    return np.linalg.solve(matrix, np.concatenate([moment, values]))[: len(gram)]


def shortest_saddle_point(gram, moment, constraints, values):
    size = len(constraints)
    matrix = np.block([[gram, constraints.T], [constraints, np.zeros((size, size))]])
    inverse = np.linalg.pinv(matrix, rcond=1e-12, hermitian=True)
    return (inverse @ np.concatenate([moment, values]))[: len(gram)]


@pytest.fixture
def problem(rng):
    A, b = rng.normal(size=(40, 6)), rng.normal(size=(40, 3))
    return A.T @ A, A.T @ b


def test_minimum_without_constraints(problem):
    gram, moment = problem
    np.testing.assert_allclose(solve_quadratic(gram, moment), np.linalg.solve(gram, moment))


def test_a_vector_gives_the_vector_of_its_column(problem):
    gram, moment = problem
    solution = solve_quadratic(gram, moment[:, 1])
    assert solution.shape == (6,)
    np.testing.assert_allclose(solution, solve_quadratic(gram, moment)[:, 1], rtol=1e-13)


@pytest.mark.parametrize("n_constraints", [1, 3, 5])
def test_constraints_equal_the_saddle_point(problem, rng, n_constraints):
    gram, moment = problem
    constraints = rng.normal(size=(n_constraints, 6))
    values = rng.normal(size=(n_constraints, 3))
    solution = solve_quadratic(gram, moment, constraints=constraints, values=values)
    expected = saddle_point(gram, moment, constraints, values)
    np.testing.assert_allclose(solution, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_values_serve_all_outputs_and_are_zero_by_default(problem):
    gram, moment = problem
    ones = np.ones((1, 6))
    shared = solve_quadratic(gram, moment, constraints=ones, values=[1.0])
    np.testing.assert_allclose(shared.sum(axis=0), 1, rtol=1e-14)
    balanced = solve_quadratic(gram, moment, constraints=ones)
    np.testing.assert_allclose(balanced.sum(axis=0), 0, atol=1e-14)


def test_as_many_constraints_as_features_leave_no_choice(problem, rng):
    gram, moment = problem
    constraints, solution = rng.normal(size=(6, 6)), rng.normal(size=(6, 3))
    found = solve_quadratic(gram, moment, constraints=constraints, values=constraints @ solution)
    np.testing.assert_allclose(found, solution, rtol=1e-11)


def test_redundant_constraints_that_agree_change_nothing(problem, rng):
    gram, moment = problem
    constraints = rng.normal(size=(2, 6))
    values = rng.normal(size=2)
    again = np.concatenate([constraints, constraints, [constraints[0] - 1e3 * constraints[1]]])
    right = np.concatenate([values, values, [values[0] - 1e3 * values[1]]])
    np.testing.assert_allclose(
        solve_quadratic(gram, moment, constraints=again, values=right),
        solve_quadratic(gram, moment, constraints=constraints, values=values),
        rtol=1e-12,
    )


def test_no_rows_of_constraints_are_no_constraints(problem):
    gram, moment = problem
    solution = solve_quadratic(gram, moment, constraints=np.empty((0, 6)))
    np.testing.assert_array_equal(solution, solve_quadratic(gram, moment))


@pytest.mark.parametrize("scale", [1e-100, 1e-20, 1e20, 1e100])
def test_units_of_features_do_not_matter(problem, scale):
    gram, moment = problem
    units = np.array([1, scale, 1, 1, scale, 1])
    scaled = solve_quadratic(gram * np.outer(units, units), moment * units[:, None])
    expected = np.linalg.solve(gram, moment)
    np.testing.assert_allclose(scaled * units[:, None], expected, rtol=1e-11)


@pytest.mark.parametrize("n_samples", [1, 4, 7])
def test_fewer_samples_than_features_give_the_shortest_solution(rng, n_samples):
    A, b = rng.normal(size=(n_samples, 8)), rng.normal(size=n_samples)
    expected = np.linalg.lstsq(A, b, rcond=None)[0]
    np.testing.assert_allclose(solve_quadratic(A.T @ A, A.T @ b), expected, atol=1e-12)


def test_shortest_solution_despite_scaling(rng):
    A = rng.normal(size=(30, 5)) * [1, 10, 0.1, 10, 1]
    A[:, 3] = 20 * A[:, 0]
    b = rng.normal(size=(30, 2))
    expected = np.linalg.lstsq(A, b, rcond=None)[0]
    np.testing.assert_allclose(solve_quadratic(A.T @ A, A.T @ b), expected, atol=1e-12)


def test_shortest_solution_within_constraints(rng):
    A, b = rng.normal(size=(3, 7)), rng.normal(size=3)
    constraints = np.ones((1, 7))
    expected = reference.coefficients(A, b, constraints, [2.0])
    found = solve_quadratic(A.T @ A, A.T @ b, constraints=constraints, values=[2.0])
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("size", [1, 1e3, 1e6])
@pytest.mark.parametrize("n_features", [2, 5, 100])
def test_constraint_along_all_that_the_form_tells(rng, n_features, size):
    # What is left within the constraint is zero but for rounding.
    for _ in range(20 if n_features < 100 else 3):
        q = rng.uniform(0.5, 2, size=n_features) * rng.choice([-1, 1], size=n_features)
        q /= np.linalg.norm(q)
        constraints = np.sqrt(n_features) * q[np.newaxis]
        found = solve_quadratic(
            size * np.outer(q, q), 2 * size * q, constraints=constraints, values=[1.0]
        )
        reference.assert_close(found, q / np.sqrt(n_features), 1e-12)


@pytest.mark.parametrize("size", [1, 1e3, 1e6])
def test_constraint_along_all_that_the_form_does_not_tell(rng, size):
    for _ in range(20):
        q = rng.normal(size=5)
        q /= np.linalg.norm(q)
        across = np.eye(5) - np.outer(q, q)
        wanted = rng.normal(size=5)
        found = solve_quadratic(
            size * across, size * (across @ wanted), constraints=q[np.newaxis], values=[3.0]
        )
        reference.assert_close(found, across @ wanted + 3 * q, 1e-12)


@pytest.mark.parametrize("where", ["anywhere", "told", "untold"])
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_constraints_on_forms_without_full_rank(rng, rank, where):
    for n_constraints in (1, 2, 4) * 10:
        A, b = rng.normal(size=(rank, 6)), rng.normal(size=rank)
        constraints = rng.normal(size=(n_constraints, 6))
        first = constraints[0]
        if where == "told":
            constraints[0] = rng.normal(size=rank) @ A
        elif where == "untold":
            A -= np.outer(A @ first, first) / (first @ first)
        arguments = A.T @ A, A.T @ b
        values = constraints @ rng.normal(size=6)
        found = solve_quadratic(*arguments, constraints=constraints, values=values)
        np.testing.assert_allclose(constraints @ found, values, rtol=0, atol=1e-12)
        expected = shortest_saddle_point(*arguments, constraints, values)
        reference.assert_close(found, expected, 1e-8)


def test_a_form_of_zeros():
    np.testing.assert_array_equal(solve_quadratic(np.zeros((3, 3)), np.zeros(3)), np.zeros(3))
    shared = solve_quadratic(np.zeros((3, 3)), np.zeros(3), constraints=np.ones((1, 3)), values=[1])
    np.testing.assert_allclose(shared, np.full(3, 1 / 3), rtol=1e-14)


def test_arguments_are_left_alone_and_may_be_read_only(problem, rng):
    gram, moment = (np.asfortranarray(x) for x in problem)
    arguments = [gram, moment, rng.normal(size=(2, 6)), rng.normal(size=(2, 3))]
    copies = [x.copy() for x in arguments]
    for x in arguments:
        x.flags.writeable = False
    solve_quadratic(*arguments[:2], constraints=arguments[2], values=arguments[3])
    for x, copy in zip(arguments, copies):
        np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 2]], [1]), r"gram must be square and not empty, got shape \(1, 2\)"),
        ((np.empty((0, 0)), []), "gram must be square and not empty"),
        (([[1, 0], [0, 1]], [1, 2, 3]), r"moment must have one row per feature, 2 .* \(3,\)"),
        (([[1, np.nan], [0, 1]], [1, 2]), r"gram must be finite, got nan at index \(0, 1\)"),
        (([[1, 0], [0, 1]], [1, np.inf]), r"moment must be finite, got inf at index \(1,\)"),
        (([[1, 0.5], [0, 1]], [1, 2]), "gram must be symmetric"),
        (([[1, 0], [0, -1]], [1, 2]), "positive semidefinite, got -1.0 on its diagonal"),
        (([[1, 2], [2, 1]], [1, 2]), "positive semidefinite, .* eigenvalue of -1"),
    ],
)
def test_bad_forms(arguments, message):
    with pytest.raises(ValueError, match=message):
        solve_quadratic(*arguments)


@pytest.mark.parametrize(
    ("constraints", "values", "message"),
    [
        ([[1, 1, 1]], None, r"constraints must have one column per feature, 2, got shape \(1, 3\)"),
        ([1, 1], None, r"constraints must have 2 dimension\(s\), got shape \(2,\)"),
        ([[1, np.nan]], None, "constraints must be finite"),
        ([[1, 1]], [1, 2], r"values must have shape \(1,\) or \(1, 1\), got \(2,\)"),
        ([[1, 1]], [np.inf], "values must be finite"),
        (None, [1], "values were given without constraints"),
        ([[1, 1], [2, 2]], [1, 1], r"constraints contradict each other: .* rows \[\d\]"),
        ([[0, 0]], [1], "constraints contradict each other"),
        ([[1, 0], [0, 1], [1, 1]], [1, 1, 1], "no coefficients meet all 3"),
    ],
)
def test_bad_constraints(constraints, values, message):
    with pytest.raises(ValueError, match=message):
        solve_quadratic(np.eye(2), [1, 2], constraints=constraints, values=values)


def test_complex_numbers_are_refused():
    with pytest.raises(TypeError, match="gram must hold real numbers"):
        solve_quadratic(np.eye(2) * 1j, [1, 2])
