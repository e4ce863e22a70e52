"""Hidden Markov models on a CUDA device against those on the CPU."""

import pickle

import numpy as np
import pytest

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import is_cuda_array, to_host
from fastmotion.core.memory import CudaMemory, memory_of
from fastmotion.em.gaussians import COVARIANCE_TYPES
from fastmotion.hmm import GaussianHMM, recursions, starting
from tests.gpu.arrays import to_device

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size")]

LENGTHS = (4, 1, 6) if simulator_enabled() else (40, 1, 700, 33)
N_FRAMES = sum(LENGTHS)
STARTS = np.cumsum((0, *LENGTHS[:-1]))
FITTED = ("startprob_", "transmat_", "means_", "_covars_")


@pytest.fixture
def X(rng):
    return 3.0 * rng.integers(0, 3, size=(N_FRAMES, 1)) + rng.normal(size=(N_FRAMES, 2))


def model_of(kind="diag", **params):
    """Return a model that is set by hand; a fit begins with that, and runs one iteration."""
    params = {"init_params": "", "n_iter": 1, "tol": -np.inf, **params}
    model = GaussianHMM(3, kind, random_state=0, **params)
    model.startprob_ = np.array([0.5, 0.3, 0.2])
    model.transmat_ = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    model.means_ = np.array([[0.0, 0.0], [3.0, 3.0], [6.0, 6.0]])
    one = np.array([[1.5, 0.2], [0.2, 1.0]])
    model.covars_ = {
        "full": np.tile(one, (3, 1, 1)),
        "tied": one,
        "diag": np.ones((3, 2)),
        "spherical": np.ones(3),
    }[kind]
    return model


def assert_same_fit(got, expected, rtol=1e-8):
    for name in FITTED:
        value = getattr(got, name)
        assert isinstance(value, np.ndarray)
        np.testing.assert_allclose(value, getattr(expected, name), rtol=rtol, atol=1e-9)
    np.testing.assert_allclose(got.monitor_.history, expected.monitor_.history, rtol=1e-9)
    assert got.device_ == "cuda:0"
    assert expected.device_ == "cpu"


def as_they_come(X, form, device):
    """Return sequences that lie on the device, and the keywords that go with them."""
    if form == "with lengths":
        return to_device(X, device), {"lengths": LENGTHS}
    if form == "in a list":
        return [to_device(part, device) for part in np.split(X, STARTS[1:])], {}
    return to_device(X[: N_FRAMES // 2 * 2].reshape(2, -1, 2), device), {}


def with_gaps(X):
    """Return sequences with single values and a frame missing."""
    gaps = X.copy()
    gaps[2, 0] = gaps[5, 1] = gaps[7] = np.nan
    return gaps


def on_host(given):
    return [to_host(part) for part in given] if isinstance(given, list) else to_host(given)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_fit_gives_the_result_of_the_cpu(device, X, kind):
    gpu = model_of(kind, device="cuda", n_iter=2).fit(X, lengths=LENGTHS)
    assert_same_fit(gpu, model_of(kind, n_iter=2).fit(X, lengths=LENGTHS))
    copy = pickle.loads(pickle.dumps(gpu)).set_params(device="cpu")
    assert copy.score(X) == pytest.approx(gpu.score(X), rel=1e-10)


@pytest.mark.parametrize("form", ["with lengths", "in a list", "in three dimensions"])
def test_fit_takes_sequences_on_the_device(device, X, form):
    given, how = as_they_come(X, form, device)
    gpu = model_of(device="auto").fit(given, **how)
    assert_same_fit(gpu, model_of().fit(on_host(given), **how))
    np.testing.assert_array_equal(to_host(given[0]), on_host(given)[0])


def test_fit_begins_as_on_the_cpu(device, X, monkeypatch):
    monkeypatch.setattr(starting, "_N_INIT", 1)
    params = {"init_params": "stmc", "n_iter": 1, "covariance_type": "full"}
    weight = np.linspace(0, 2, N_FRAMES)
    for sample_weight, values in ((weight, X), (None, with_gaps(X))):
        cpu = GaussianHMM(2, random_state=0, **params).fit(values, sample_weight=sample_weight)
        gpu = GaussianHMM(2, random_state=0, device="cuda", **params)
        gpu.fit(values, sample_weight=sample_weight)
        assert_same_fit(gpu, cpu, rtol=1e-6)


def test_a_list_may_lie_in_several_places(device, X):
    parts = np.split(X, STARTS[1:])
    mixed = [to_device(parts[0], device), parts[1].tolist(), parts[2]]
    got = model_of(device="auto").predict_proba([*mixed, *parts[3:]])
    np.testing.assert_allclose(to_host(got), model_of().predict_proba(parts), atol=1e-12)
    words = [["a", "b"]]
    for given in ([parts[0], words], [to_device(parts[0], device), words]):
        with pytest.raises(TypeError, match=r"X\[1\]"):
            model_of(device="auto").score(given)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_missing_values_are_left_out_as_on_the_cpu(device, X, monkeypatch, kind):
    gaps = with_gaps(X)
    given = to_device(gaps, device)
    gpu = model_of(kind, device="cuda").fit(given, lengths=LENGTHS)
    cpu = model_of(kind).fit(gaps, lengths=LENGTHS)
    assert_same_fit(gpu, cpu)
    monkeypatch.setattr(recursions, "_frames_for", lambda n_states, memory: 4)
    got = gpu.predict_proba(given, lengths=LENGTHS)
    np.testing.assert_allclose(to_host(got), cpu.predict_proba(gaps, lengths=LENGTHS), atol=1e-8)


@pytest.mark.parametrize("of", ["sequences", "frames"])
def test_weights_count_as_on_the_cpu(rng, device, X, of):
    if of == "sequences":
        weight = np.arange(len(LENGTHS)) / 2.0
        X[: LENGTHS[0]] = 1e30  # counts for nothing
    else:
        weight = rng.integers(0, 3, N_FRAMES) / 2.0
        X[weight == 0] = -1e30
    fit = {"lengths": LENGTHS, "sample_weight": weight}
    there = X.copy()
    given = to_device(there, device)
    gpu = model_of(params="mct", device="cuda").fit(given, **fit)
    assert_same_fit(gpu, model_of(params="mct").fit(X, **fit))
    np.testing.assert_array_equal(gpu.startprob_, model_of().startprob_)
    np.testing.assert_array_equal(to_host(given), X)


def test_float32_stays_float32(device, X):
    X = X.astype(np.float32)
    gpu = model_of("full", device="cuda").fit(X, lengths=LENGTHS)
    cpu = model_of("full").fit(X, lengths=LENGTHS)
    assert_same_fit(gpu, cpu, rtol=1e-6)
    probabilities = gpu.predict_proba(X, lengths=LENGTHS)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, cpu.predict_proba(X, lengths=LENGTHS), atol=1e-6)


@pytest.mark.parametrize("form", ["with lengths", "in a list", "in three dimensions", "on host"])
def test_results_lie_where_the_frames_do(device, X, form):
    given, how = (X, {"lengths": LENGTHS}) if form == "on host" else as_they_come(X, form, device)
    gpu, cpu, frames = model_of(device="cuda"), model_of(), on_host(given)
    score, probabilities = gpu.score_samples(given, **how)
    expected = cpu.score_samples(frames, **how)
    assert score == pytest.approx(expected[0], rel=1e-11)
    assert is_cuda_array(probabilities) is (form != "on host")
    np.testing.assert_allclose(to_host(probabilities), expected[1], atol=1e-12)
    for algorithm in ("viterbi", "map"):
        score, states = gpu.decode(given, algorithm=algorithm, **how)
        expected = cpu.decode(frames, algorithm=algorithm, **how)
        assert score == pytest.approx(expected[0], rel=1e-11)
        assert is_cuda_array(states) is (form != "on host")
        assert to_host(states).dtype == np.int64
        np.testing.assert_array_equal(to_host(states), expected[1])


def test_scores_and_criteria_are_those_of_the_cpu(device, X):
    gpu, cpu, given = model_of("tied", device="cuda"), model_of("tied"), to_device(X, device)
    for name in ("score", "aic", "bic"):
        got = getattr(gpu, name)(given, lengths=LENGTHS)
        assert got == pytest.approx(getattr(cpu, name)(X, lengths=LENGTHS), rel=1e-11)
    np.testing.assert_array_equal(gpu.sample(5)[0], cpu.sample(5)[0])


def test_little_memory_changes_nothing(device, X, monkeypatch):
    given = to_device(X, device)
    ample = model_of(device="cuda").fit(given, lengths=LENGTHS)
    spans = []
    smooth = recursions._Smoother.run

    def run(self, job, weights):
        spans.extend(job.spans)
        return smooth(self, job, weights)

    monkeypatch.setattr(recursions._Smoother, "run", run)
    monkeypatch.setattr(CudaMemory, "budget", lambda self, share=0.5: 2000)
    scarce = model_of(device="cuda").fit(given, lengths=LENGTHS)
    assert max(span.n_frames for span in spans) < N_FRAMES
    assert len(spans) > len(LENGTHS)
    np.testing.assert_allclose(scarce.monitor_.history, ample.monitor_.history, rtol=1e-12)
    for name in FITTED:
        np.testing.assert_allclose(getattr(scarce, name), getattr(ample, name), rtol=1e-10)


def test_an_iteration_waits_for_the_device_once(device, X, launches, monkeypatch):
    fetches = []
    fetch = CudaMemory.fetch

    def counted(self, array):
        fetches.append((len(launches), array.size))
        return fetch(self, array)

    monkeypatch.setattr(CudaMemory, "fetch", counted)
    given, counts = to_device(X, device), []
    for n_iter in (1, 3):
        launches.clear()
        fetches.clear()
        model_of(device="cuda", n_iter=n_iter).fit(given, lengths=LENGTHS)
        counts.append((len(launches), len(fetches), len({place for place, _ in fetches})))
    per_iteration = (np.array(counts[1]) - counts[0]) / 2
    # Kernels, small arrays that come to the host, and how often it waits for kernels.
    assert per_iteration.tolist() == [per_iteration[0], 5, 1]
    assert per_iteration[0] <= 22
    assert max(size for _, size in fetches) < 1000


@pytest.mark.filterwarnings("ignore:.*overflow:RuntimeWarning")
def test_impossible_sequences_are_told_as_on_the_cpu(device, X):
    model = model_of(device="cuda")
    model.startprob_, model.transmat_ = np.array([1.0, 0, 0]), np.eye(3)
    given = to_device(np.full((2, 2), 1e160), device)
    assert model.score(given) == -np.inf
    with pytest.warns(RuntimeWarning, match="sequence 0 of X .* is impossible") as caught:
        probabilities = model.predict_proba(given)
    told = [warning for warning in caught if "is impossible" in str(warning.message)]
    assert [warning.filename for warning in told] == [__file__]
    assert np.isnan(to_host(probabilities)).all()
    with pytest.warns(RuntimeWarning, match="impossible"):
        score, states = model.decode(given, algorithm="map")
    assert score == 0
    np.testing.assert_array_equal(to_host(states), 0)


def test_frames_on_the_device_are_checked_as_on_the_host(device, X):
    model = model_of(device="auto").fit(X, lengths=LENGTHS)
    wrong = X.copy()
    wrong[3, 1] = -np.inf
    for data, how in (
        (wrong, {}),
        (X[:, :1].copy(), {}),
        (X[:, 0].copy(), {}),
        (X[:0], {}),
        (X, {"lengths": [1, 2]}),
        (np.zeros((2, 3, 2)), {"lengths": [3, 3]}),
        ([X, X[:, :1].copy()], {}),
    ):
        parts = [to_device(x, device) for x in data] if isinstance(data, list) else None
        given = parts or to_device(data, device)
        with pytest.raises(ValueError) as expected:
            model.score(data, **how)
        with pytest.raises(ValueError) as got:
            model.score(given, **how)
        # The numbers themselves are not shown.
        assert str(got.value).partition("array=")[0] == str(expected.value).partition("array=")[0]
    with pytest.raises(ValueError) as expected:
        model_of().fit(X * 1e101, lengths=LENGTHS)
    with pytest.raises(ValueError) as got:
        model_of(device="auto").fit(to_device(X * 1e101, device), lengths=LENGTHS)
    assert str(got.value) == str(expected.value)
    with pytest.raises(TypeError, match="X lies on a CUDA device"):
        model.set_params(device="cpu").score(to_device(X, device))


def test_integers_are_taken_as_float64(device, X):
    whole = X.round().astype(np.int64)
    got = model_of(device="cuda").predict_proba(to_device(whole, device))
    assert got.dtype == np.float64
    np.testing.assert_allclose(to_host(got), model_of().predict_proba(whole), atol=1e-12)


def test_memory_goes_back_to_the_pool(device, X):
    memory = memory_of(device)
    model = model_of(device="cuda")
    for _ in range(2):
        model.predict_proba(X)
        kept = sum(len(arrays) for arrays in memory._pool.values())
    model.predict_proba(X)
    assert sum(len(arrays) for arrays in memory._pool.values()) == kept
