"""Features of motion for classifiers: histograms of flow, and Fisher vectors of descriptors."""

from fastmotion.features import _warmup as _warmup
from fastmotion.features._fisher_vector import FisherVector
from fastmotion.features._flow_histogram import FlowHistogram

__all__ = ["FisherVector", "FlowHistogram"]
