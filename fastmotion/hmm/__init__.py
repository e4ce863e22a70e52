"""Hidden Markov models."""

from fastmotion.hmm import _warmup as _warmup
from fastmotion.hmm._gaussian_hmm import GaussianHMM
from fastmotion.hmm.monitor import ConvergenceMonitor

__all__ = ["ConvergenceMonitor", "GaussianHMM"]
