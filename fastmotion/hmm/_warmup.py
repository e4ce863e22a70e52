"""What `fastmotion.warmup` runs to compile the kernels of hidden Markov models."""

import numpy as np

from fastmotion.core.compile import register_warmup
from fastmotion.em.gaussians import Gaussians
from fastmotion.hmm.emissions import GaussianEmissions, StateSums
from fastmotion.hmm.recursions import Chain, decode, smooth
from fastmotion.hmm.sequences import FrameSequences

_CHAIN = Chain(np.ones(1), np.ones((1, 1)))


def _warm_up_recursions() -> None:
    # float32 and float64 are compiled apart, and so are the types of covariances.
    for kind, variances in (("diag", np.ones((1, 1))), ("full", np.ones((1, 1, 1)))):
        gaussians = Gaussians.from_covariances(np.zeros((1, 1)), variances, kind)
        for dtype in (np.float32, np.float64):
            _run_all(gaussians, FrameSequences(np.zeros((2, 1), dtype), np.array([2])))


def _run_all(gaussians: Gaussians, sequences: FrameSequences) -> None:
    emissions = GaussianEmissions(gaussians, sequences)
    smooth(_CHAIN, emissions, sequences.stops, lambda: StateSums(emissions, sequences.starts, None))
    decode(_CHAIN, emissions, sequences.stops)


register_warmup("hmm", _warm_up_recursions)
