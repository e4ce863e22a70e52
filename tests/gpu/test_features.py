"""Features on a CUDA device, beside those of the CPU."""

import numpy as np
import pytest
from sklearn.base import clone

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import is_cuda_array, to_host
from fastmotion.core.memory import CudaMemory
from fastmotion.features import FisherVector, FlowHistogram
from tests.gpu.arrays import to_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Grid size"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

SIMULATED = simulator_enabled()
SHAPE = (1, 2, 13, 17) if SIMULATED else (3, 35, 241, 320)

HISTOGRAMS = {
    "whole": FlowHistogram(grid=(2, 2, 2)),
    "sums": FlowHistogram(5, grid=(1, 1, 1), still_threshold=None, normalization=None),
    "flow": FlowHistogram(components=["flow"], grid=(1, 2, 1), normalization="l2"),
    "blocks": FlowHistogram(
        3, components=["boundary"], grid=(1, 2, 2), block_shape=(2, 8, 8), block_step=(1, 5, 6)
    ),
}


def random_flow(rng, dtype=np.float32):
    flow = rng.normal(size=(*SHAPE, 2)).astype(dtype)
    flow[0, 0, 2:4, 3:7, 0] = np.nan
    flow[0, 1, :, :2] = 0
    return flow


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_histograms_are_those_of_the_cpu(device, rng, name):
    flow = random_flow(rng)
    wanted = HISTOGRAMS[name].fit_transform(flow)
    histogram = clone(HISTOGRAMS[name]).set_params(device=str(device))
    got = histogram.fit_transform(flow)
    assert type(got) is np.ndarray and got.dtype == np.float32
    assert histogram.device_ == str(device)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_flow_on_the_device_stays_there(device, rng, monkeypatch):
    flow = random_flow(rng, np.float64)
    histogram = FlowHistogram(grid=(1, 1, 1), components=["flow"])
    wanted = histogram.fit_transform(flow)
    there = to_device(flow, device)
    fetched = []
    fetch = CudaMemory.fetch
    monkeypatch.setattr(
        CudaMemory, "fetch", lambda self, x: fetched.append(x.size) or fetch(self, x)
    )
    got = clone(histogram).fit_transform(there)
    assert is_cuda_array(got)
    # What is summed up, and no flow.
    assert sum(fetched) < flow.size / (1 if SIMULATED else 5)
    np.testing.assert_allclose(to_host(got), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(to_host(there), flow)


def test_infinite_flow_on_the_device_is_an_error(device):
    flow = np.zeros((1, 1, 4, 4, 2), np.float32)
    flow[0, 0, 1, 1, 0] = np.inf
    with pytest.raises(ValueError, match="must be finite"):
        FlowHistogram(grid=(1, 1, 1)).transform(to_device(flow, device))


@pytest.mark.parametrize("as_list", [True, False])
def test_fisher_vectors_are_those_of_the_cpu(device, rng, as_list):
    n_bags, n = (2, 16) if SIMULATED else (5, 3000)
    X = rng.normal(size=(n_bags, n, 2)) + 6 * rng.integers(0, 2, (n_bags, n, 1))
    fisher = FisherVector(2, max_iter=1, random_state=0)
    wanted = fisher.fit_transform(X)
    there = [to_device(bag, device) for bag in X] if as_list else to_device(X, device)
    got = clone(fisher).fit_transform(there)
    assert is_cuda_array(got)
    np.testing.assert_allclose(to_host(got), wanted, rtol=1e-5, atol=1e-6)
    from_host = clone(fisher).set_params(device=str(device)).fit(X)
    assert from_host.device_ == str(device)
    np.testing.assert_allclose(from_host.transform(X), wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="CUDA device"):
        clone(fisher).set_params(device="cpu").fit(there)
