"""What the fundamental matrix needs of planes, on a CUDA device beside the CPU."""

import numpy as np
import pytest

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import CPU
from fastmotion.datasets import make_two_view
from fastmotion.epipolar import degeneracy
from fastmotion.epipolar.coordinates import CentredMatches
from fastmotion.epipolar.launching import kernels_of
from fastmotion.epipolar.problem import FundamentalProblem
from fastmotion.epipolar.ransac import Candidate

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size")]

SEED = np.uint64(7)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    if simulator_enabled():
        for name, value in {
            "_PLANE_TRIALS": 24,
            "_N_DIRECTIONS": 3,
            "_N_PAIRS": 2,
            "_N_PAIRS_OFF": 6,
            "_N_LISTED": 5,
            "_N_REFINED": 1,
        }.items():
            monkeypatch.setattr(degeneracy, name, value)


def look_for_planes(device, view):
    """Return the plane and the best of the models that it leaves."""
    with kernels_of(device) as kernels:
        matches = CentredMatches.of_pixels(view.matches, None, np.random.default_rng(1))
        problem = FundamentalProblem(
            matches, 2.0, sample_size=7, seed=SEED, refines=True, kernels=kernels
        )
        best = Candidate(matches.from_pixels(view.F), 0.0, 0.0, 0.0)
        plane = degeneracy.find_plane(problem, best, SEED)
        assert plane is not None
        return plane, degeneracy.resolve_plane(problem, best, plane, np.random.default_rng(2))


def test_planes_and_what_they_leave_are_those_of_the_cpu(device, launches):
    view = make_two_view(
        "plane", n_matches=30, inlier_ratio=0.9, noise=0.3, plane_ratio=0.7, random_state=0
    )
    plane, best = look_for_planes(CPU, view)
    assert not launches
    assert best.gain > 0.3
    there, found = look_for_planes(device, view)
    np.testing.assert_allclose(there.H, plane.H, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(there.distances, plane.distances, rtol=1e-6, atol=1e-9)
    assert found.gain == pytest.approx(best.gain, rel=1e-6)
    np.testing.assert_allclose(found.model, best.model, rtol=1e-5, atol=1e-7)
    names = [kernel.name.rpartition(".")[2] for kernel, *_ in launches]
    assert names.count("_set_models") == 1  # all epipoles by one launch
    assert len(names) < 20
