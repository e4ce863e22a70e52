import numpy as np
import pytest


@pytest.fixture
def flow():
    """Motion in steps of 1/64 pixel, which every format holds exactly, with an unknown pixel."""
    steps = np.random.default_rng(0).integers(-(2**15), 2**15, size=(11, 14, 2))
    field = (steps / 64).astype(np.float32)
    field[3, 5] = np.nan
    return field
