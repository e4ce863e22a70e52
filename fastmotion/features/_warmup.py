"""What `fastmotion.warmup` runs to compile the kernels of features."""

import numpy as np

from fastmotion.core.compile import register_warmup
from fastmotion.features._fisher_vector import FisherVector
from fastmotion.features._flow_histogram import FlowHistogram


def _warm_up_flow_histogram() -> None:
    FlowHistogram().transform(np.zeros((1, 3, 16, 16, 2), np.float32))


def _warm_up_fisher_vector() -> None:
    bags = np.random.default_rng(0).normal(size=(2, 32, 3))
    for dtype in (np.float32, np.float64):
        FisherVector(2, random_state=0).fit_transform(bags.astype(dtype))


register_warmup("features", _warm_up_flow_histogram)
register_warmup("features", _warm_up_fisher_vector)
