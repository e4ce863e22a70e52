"""The references themselves, against first principles."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from tests.reference import flow as reference
from tests.reference.flow_cases import FUNCTIONALS, random_flow, texture_pair

SHAPE = 5, 6


@pytest.mark.parametrize("name", FUNCTIONALS)
def test_the_linear_system_is_half_the_gradient_of_the_energy(name):
    frames = texture_pair(SHAPE)
    base, flow = random_flow(SHAPE, 1.5, seed=1), random_flow(SHAPE, 1.0, seed=2)
    problem = *frames, base, FUNCTIONALS[name]
    matrix, right = reference.linear_system(flow, *problem)
    gradient = approx_fprime(
        np.float64(flow).ravel(),
        lambda vector: reference.energy(vector.reshape(flow.shape), *problem),
        1e-7,
    )
    np.testing.assert_allclose(
        matrix @ flow.ravel() - right, gradient / 2, atol=1e-5 * np.abs(gradient).max()
    )


def test_sweeps_on_whole_arrays_are_sweeps_pixel_after_pixel():
    frames = texture_pair(SHAPE)
    base, flow = random_flow(SHAPE, 1.0, seed=1), random_flow(SHAPE, 1.0, seed=2)
    problem = *frames, base, FUNCTIONALS["robust"]
    matrix, right = reference.linear_system(flow, *problem)
    factors = 1.0, 1.7, 0.5, 1.8, 1.2
    expected = reference.relax_in_loops(matrix.toarray(), right, flow, factors)
    swept = reference.relax(*problem[:3], flow, FUNCTIONALS["robust"], factors, np.inf)
    np.testing.assert_allclose(swept, expected, atol=1e-12)


def test_sweeps_converge_to_the_solution():
    frames = texture_pair(SHAPE)
    flow = random_flow(SHAPE, 1.0)
    solution = reference.solve(flow, *frames, flow, FUNCTIONALS["robust"])
    factors = reference.relaxation_factors(1.5, 400)
    swept = reference.relax(*frames, flow, flow, FUNCTIONALS["robust"], factors, np.inf)
    np.testing.assert_allclose(swept, solution, atol=1e-9)


def test_the_texture_moves_by_the_step():
    frame0, frame1 = texture_pair((24, 30), step=(2, 1))
    np.testing.assert_allclose(frame1[1:, 2:], frame0[:-1, :-2], atol=1e-6)
    flow = np.broadcast_to(np.float32([2, 1])[:, None, None], (2, 24, 30))
    np.testing.assert_allclose(reference.warp(frame1, flow)[:-1, :-2], frame0[:-1, :-2], atol=1e-6)
