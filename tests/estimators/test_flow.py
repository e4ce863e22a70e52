"""The estimators of dense flow as scikit-learn, joblib and their users handle them."""

from concurrent.futures import ThreadPoolExecutor

import joblib
import numba
import numpy as np
import pytest
import sklearn
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

import fastmotion
from fastmotion.flow import HornSchunck, LucasKanade, horn_schunck, lucas_kanade
from tests.reference.flow_cases import texture, texture_pair

ESTIMATORS = [HornSchunck, LucasKanade]
PRESETS = ["fast", "medium", "default", "best"]

each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


def clips(n_clips=3, n_frames=3, shape=(24, 32)):
    """Return clips of a texture that moves differently in each, uint8."""
    frames = [
        texture_pair(shape, seed=i, step=(0.4 * k, 0.3 * i * k))[1]
        for i in range(n_clips)
        for k in range(n_frames)
    ]
    return np.uint8(255 * np.clip(frames, 0, 1)).reshape(n_clips, n_frames, *shape)


# Parameters


@each_estimator
def test_parameters_are_stored_untouched(estimator):
    odd = {"n_levels": np.int64(2), "prefilter_sigma": np.float32(0.5), "n_jobs": np.int64(1)}
    made = estimator(**odd)
    X = clips()
    made.fit(X).transform(X)
    for name, value in odd.items():
        assert getattr(made, name) is value


@each_estimator
def test_tags(estimator):
    tags = get_tags(estimator())
    assert not tags.requires_fit
    assert not tags.input_tags.two_d_array
    assert not tags.input_tags.allow_nan
    assert not tags.target_tags.required
    assert tags.estimator_type is None
    assert tags.transformer_tags.preserves_dtype == []


# fit and transform


@each_estimator
def test_fit_learns_nothing_and_can_be_repeated(estimator):
    X = clips()
    fitted = estimator(n_warps=2)
    before = fitted.get_params()
    assert fitted.fit(X) is fitted
    once = dict(vars(fitted))
    assert vars(fitted.fit(X, y=np.arange(3))) == once
    assert fitted.get_params() == before
    assert (fitted.device_, fitted.frame_shape_) == ("cpu", X.shape[2:])
    check_is_fitted(fitted)
    np.testing.assert_array_equal(fitted.transform(X), estimator(n_warps=2).fit(X[:1]).transform(X))


@each_estimator
def test_transform_needs_no_fit(estimator):
    X = clips()
    check_is_fitted(estimator())  # as the tag requires_fit says
    flow = estimator().transform(X)
    np.testing.assert_array_equal(flow, estimator().fit(X).transform(X))
    np.testing.assert_array_equal(flow, estimator().fit_transform(X))


@each_estimator
@pytest.mark.parametrize("n_frames", [2, 4])
def test_transform_is_estimate_on_successive_frames(estimator, n_frames):
    X = clips(2, n_frames)
    flow = estimator().transform(X)
    assert flow.shape == (2, n_frames - 1, 24, 32, 2) and flow.dtype == np.float32
    for clip, fields in zip(X, flow):
        for i in range(n_frames - 1):
            expected = estimator().estimate(clip[i], clip[i + 1])
            np.testing.assert_array_equal(fields[i], expected)


@each_estimator
def test_parts_give_the_same_as_the_whole(estimator):
    X = clips(4)
    flow = estimator().transform(X)
    for part in (slice(0, 1), slice(1, 3), [3, 0], np.array([False, True, True, False])):
        np.testing.assert_array_equal(estimator().transform(X[part]), flow[part])
    np.testing.assert_array_equal(estimator().transform(X[:, 1:]), flow[:, 1:])


@each_estimator
def test_clips_in_colour_and_of_other_sizes(estimator):
    fitted = estimator().fit(clips())
    colour = np.repeat(clips(2, 2, (20, 41))[..., np.newaxis], 3, axis=-1)
    assert fitted.transform(colour).shape == (2, 1, 20, 41, 2)
    np.testing.assert_array_equal(
        fitted.transform(colour[..., :1]), fitted.transform(colour[..., 0])
    )


@each_estimator
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64, bool])
def test_the_flow_is_float32(estimator, dtype):
    X = (clips() > 127).astype(dtype)
    flow = estimator().transform(X)
    assert flow.dtype == np.float32 and np.isfinite(flow).all()
    assert flow.flags.c_contiguous and flow.flags.writeable


@each_estimator
def test_read_only_clips_and_memory_maps(estimator, tmp_path):
    X = clips()
    flow = estimator().transform(X)
    np.save(tmp_path / "clips.npy", X)
    X.setflags(write=False)
    np.testing.assert_array_equal(estimator().fit(X).transform(X), flow)
    mapped = np.load(tmp_path / "clips.npy", mmap_mode="r")
    np.testing.assert_array_equal(estimator().fit(mapped).transform(mapped), flow)


@each_estimator
def test_nested_lists(estimator):
    X = clips(1, 2, (16, 16))
    numbers = X.astype(int)  # as NumPy takes lists of integers; their range is unknown
    np.testing.assert_array_equal(estimator().transform(X.tolist()), estimator().transform(numbers))


@each_estimator
def test_pipeline_and_grid_search(estimator):
    X, y = clips(6, 2), np.arange(6.0)
    mean_motion = FunctionTransformer(lambda flow: flow.mean(axis=(1, 2, 3)))
    pipeline = make_pipeline(estimator(n_warps=1), mean_motion, Ridge(alpha=1e-6))
    prediction = pipeline.fit(X, y).predict(X)
    assert np.corrcoef(prediction, y)[0, 1] > 0.9  # clip i moves by 0.3 i pixels
    name = f"{estimator.__name__.lower()}__n_warps"
    search = GridSearchCV(pipeline, {name: [1, 2]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_[name] in (1, 2)


@each_estimator
def test_flow_stays_an_array_where_data_frames_are_asked_for(estimator):
    X = clips(2, 2)
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(estimator().fit_transform(X), np.ndarray)
    mean_motion = FunctionTransformer(
        lambda flow: flow.mean(axis=(1, 2, 3)), feature_names_out=lambda *_: ["u", "v"]
    )
    pipeline = make_pipeline(estimator(), mean_motion).set_output(transform="default")
    assert pipeline.fit_transform(X).shape == (2, 2)
    pytest.importorskip("pandas", reason="pandas is not installed")
    table = pipeline.set_output(transform="pandas").fit_transform(X)
    assert list(table.columns) == ["u", "v"]
    assert isinstance(pipeline[0].transform(X), np.ndarray)


# Threads and processes


@pytest.fixture(scope="module")
def pair():
    # So large that its finest levels are shared out to threads.
    return texture_pair((190, 220), step=(1.4, -0.8))


@each_estimator
def test_threads_do_not_change_a_bit(estimator, pair):
    expected = estimator(n_jobs=1).estimate(*pair)
    n_threads = numba.get_num_threads()
    for n_jobs in (2, -1, None, 1000):
        np.testing.assert_array_equal(estimator(n_jobs=n_jobs).estimate(*pair), expected)
    with fastmotion.config_context(n_jobs=1):
        np.testing.assert_array_equal(estimator().estimate(*pair), expected)
    assert numba.get_num_threads() == n_threads


@each_estimator
def test_the_number_of_threads_is_restored_after_an_error(estimator, pair):
    n_threads = numba.get_num_threads()
    with pytest.raises(ValueError, match="odd|shape"):
        bad = {"window_size": 4} if estimator is LucasKanade else {}
        estimator(n_jobs=1, **bad).estimate(*pair, initial_flow=np.zeros((2, 2, 2)))
    assert numba.get_num_threads() == n_threads


@each_estimator
def test_python_threads_at_once(estimator, pair):
    expected = estimator().estimate(*pair)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: estimator().estimate(*pair), range(8)))
    for flow in results:
        np.testing.assert_array_equal(flow, expected)


@each_estimator
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(estimator, pair, backend):
    expected = estimator().estimate(*pair)
    # A worker gets large arrays as read-only memory maps; here all of them.
    results = joblib.Parallel(2, backend=backend, max_nbytes=1)(
        joblib.delayed(estimator(n_jobs=n).estimate)(*pair) for n in (1, 2, -1, None)
    )
    for flow in results:
        np.testing.assert_array_equal(flow, results[0])
        # Not to the bit: see test_cached_code_gives_the_bits_of_compiled_code.
        np.testing.assert_allclose(flow, expected, atol=1e-4)


# Devices


@each_estimator
def test_devices(estimator, pair):
    expected = estimator(n_warps=1).estimate(*pair)
    for device in ("cpu", "auto", None):
        flow = estimator(n_warps=1, device=device).estimate(*pair)
        np.testing.assert_array_equal(flow, expected)
    with fastmotion.config_context(device="cpu"):
        np.testing.assert_array_equal(estimator(n_warps=1).estimate(*pair), expected)


@each_estimator
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_is_refused_with_its_cure(estimator, device):
    X = clips(1, 2)
    cure = "pass device='cpu'"
    for method in (estimator(device=device).fit, estimator(device=device).transform):
        with pytest.raises(RuntimeError, match=cure):
            method(X)
    with (
        fastmotion.config_context(device=device),
        pytest.raises(RuntimeError, match=cure),
    ):
        estimator().estimate(*X[0])
    with fastmotion.config_context(device=device):
        assert estimator(device="cpu").fit(X).device_ == "cpu"


# Presets, functions and the confidence


@each_estimator
@pytest.mark.parametrize("name", PRESETS)
def test_presets(estimator, name, pair):
    preset = estimator.from_preset(name)
    assert type(preset) is estimator
    assert (preset.get_params() == estimator().get_params()) == (name == "default")
    flow = preset.estimate(*pair)
    assert flow.shape == (190, 220, 2) and np.isfinite(flow).all()
    assert flow[..., 0].mean() == pytest.approx(1.4, abs=0.3)
    assert flow[..., 1].mean() == pytest.approx(-0.8, abs=0.3)


@each_estimator
def test_parameters_override_presets(estimator):
    assert estimator.from_preset("fast").finest_scale == 2
    preset = estimator.from_preset("fast", finest_scale=0, n_warps=9)
    assert (preset.finest_scale, preset.n_warps) == (0, 9)


@each_estimator
def test_a_subclass_has_the_presets(estimator):
    mine = type("Mine", (estimator,), {})
    assert type(mine.from_preset("fast")) is mine


@each_estimator
def test_unknown_presets_and_parameters(estimator):
    with pytest.raises(ValueError, match="fast.*got 'quick'"):
        estimator.from_preset("quick")
    with pytest.raises(TypeError, match="alpa"):
        estimator.from_preset("fast", alpa=1)


@pytest.mark.parametrize(
    "function, estimator", [(horn_schunck, HornSchunck), (lucas_kanade, LucasKanade)]
)
def test_functions_are_estimate(function, estimator, pair):
    params = {"n_warps": 2, "finest_scale": 1}
    start = np.ones((190, 220, 2))
    np.testing.assert_array_equal(function(*pair), estimator().estimate(*pair))
    np.testing.assert_array_equal(
        function(*pair, initial_flow=start, **params),
        estimator(**params).estimate(*pair, initial_flow=start),
    )
    with pytest.raises(TypeError, match="n_wraps"):
        function(*pair, n_wraps=1)


@pytest.mark.parametrize("finest_scale", [0, 1, 2])
def test_confidence(pair, finest_scale):
    tracker = LucasKanade(finest_scale=finest_scale)
    flow, confidence = tracker.estimate(*pair, return_confidence=True)
    np.testing.assert_array_equal(flow, tracker.estimate(*pair))
    np.testing.assert_array_equal(
        confidence, lucas_kanade(*pair, finest_scale=finest_scale, return_confidence=True)[1]
    )
    assert confidence.shape == (190, 220) and confidence.dtype == np.float32
    assert np.isfinite(confidence).all() and confidence.min() >= 0


def test_confidence_tells_texture_from_an_edge_and_from_nothing():
    frame = np.zeros((48, 96))
    frame[:, 16:32] = 0.5  # edges: motion along them cannot be told
    frame[:, 56:] = texture((48, 40))
    _, confidence = lucas_kanade(frame, frame, return_confidence=True)
    flat, edge, textured = confidence[8:40, 40:46], confidence[8:40, 14:34], confidence[8:40, 66:86]
    assert flat.max() < 1e-9
    assert edge.max() < 0.01 * np.median(textured)


def test_only_lucas_kanade_has_a_confidence(pair):
    with pytest.raises(TypeError, match="return_confidence"):
        HornSchunck().estimate(*pair, return_confidence=True)


def test_warmup_runs_every_parallel_kernel(run_python):
    """No preset compiles anything after ``fastmotion.warmup()``."""
    code = (
        "import fastmotion\n"
        "from fastmotion.flow.kernels import cpu\n"
        "fastmotion.warmup()\n"
        "kernels = [k for k in vars(cpu).values() if getattr(k, 'parallel', False)]\n"
        "assert len(kernels) >= 5\n"
        "print([k.name for k in kernels if not k.dispatcher.signatures])\n"
    )
    assert run_python(code).strip() == "[]"
