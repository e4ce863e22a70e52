"""Videos through estimators: which frames a clip has, and what stays in memory."""

import sys
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from fastmotion.flow import HornSchunck
from fastmotion.flow.pyramid import resampling_weights
from fastmotion.io import iter_video, write_video
from fastmotion.mixture import GaussianMixture
from fastmotion.video import CameraCompensation, stream
from fastmotion.video.cuts import Cuts
from tests.video.films import make_film

FRAMES = make_film(12, gray=True)


class Counts(TransformerMixin, BaseEstimator):
    """Gives the first pixel of each frame, by which tests tell frames apart."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.asarray(X)[:, :, 0, 0].reshape(len(X), -1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


class Fitted(Counts):
    """The same, to be fitted."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags


def numbered(n, dtype=np.uint16, shape=(16, 20)):
    """Return frames that each hold their own index."""
    return [np.full(shape, index, dtype) for index in range(n)]


def shown(frames, **options):
    """Return the frames that each clip shows."""
    clips = stream(frames, Counts(), progress=False, **options)
    return [(clip.start, clip.output.tolist()) for clip in clips]


@pytest.fixture
def film(tmp_path):
    """A video file of 12 frames."""
    path = tmp_path / "film.mp4"
    pytest.importorskip("av", reason="PyAV is not installed")
    write_video(path, FRAMES, fps=24)
    return path


def test_neighbouring_clips_share_a_frame():
    assert shown(numbered(9), clip_length=4) == [
        (0, [0, 1, 2, 3]),
        (3, [3, 4, 5, 6]),
        (6, [6, 7, 8]),
    ]
    # The only frame that is left was in a clip already: no pair is lost.
    assert shown(numbered(7), clip_length=4) == [(0, [0, 1, 2, 3]), (3, [3, 4, 5, 6])]


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"step": 4}, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]),
        ({"step": 4, "last_clip": "drop"}, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ({"step": 2}, [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]),
        ({"step": 7}, [[0, 1, 2, 3], [7, 8, 9]]),
        ({"step": 20}, [[0, 1, 2, 3]]),
        ({"start": 3}, [[3, 4, 5, 6], [6, 7, 8, 9]]),
        ({"start": 2, "stop": 5}, [[2, 3, 4]]),
        ({"stop": 99, "step": 9}, [[0, 1, 2, 3]]),
        (
            {"start": 0.1, "stop": 0.5, "unit": "seconds", "fps": 20},
            [[2, 3, 4, 5], [5, 6, 7, 8], [8, 9]],
        ),
        ({"start": 0.11, "stop": 0.25, "unit": "seconds", "fps": 20}, [[3, 4]]),
        ({"start": 0.3, "unit": "seconds", "fps": Fraction(20000, 1001)}, [[6, 7, 8, 9]]),
        ({"start": 6, "stop": 1e300}, [[6, 7, 8, 9]]),
        ({"start": 0.3, "stop": 1e308, "unit": "seconds", "fps": 20}, [[6, 7, 8, 9]]),
    ],
)
def test_choice_of_frames(options, expected):
    clips = shown(numbered(10), clip_length=4, **options)
    assert [frames for _, frames in clips] == expected
    assert [start for start, _ in clips] == [frames[0] for frames in expected]


@settings(max_examples=300, deadline=None)
@given(
    n=st.integers(0, 30),
    length=st.integers(2, 8),
    step=st.integers(1, 12),
    start=st.integers(0, 10),
    stop=st.none() | st.integers(11, 40),
    keeps_last=st.booleans(),
)
def test_cuts(n, length, step, start, stop, keeps_last):
    cuts = Cuts(length, step, start, stop, keeps_last)
    frames = list(range(n))[start:stop]
    try:
        clips = list(cuts.cut(frames, "film"))
    except ValueError:
        clips = []
    for k, (first, clip) in enumerate(clips):
        assert first == start + k * step == clip[0]
        assert clip == frames[k * step : k * step + length]
    lengths = [len(clip) for _, clip in clips]
    assert all(n_frames == length for n_frames in lengths[:-1])
    assert cuts.count(n) == len(clips) and cuts.count(None) is None
    pairs = [frame for _, clip in clips for frame in clip[:-1]]
    if keeps_last and step == length - 1:
        assert pairs == frames[:-1]  # every pair once
    if not keeps_last:
        assert set(lengths) <= {length}


def test_flow_of_clips_is_the_flow_of_the_film(film):
    estimator = HornSchunck.from_preset("fast")
    clips = list(stream(str(film), estimator, clip_length=5, progress=False))
    assert [(clip.start, clip.n_frames) for clip in clips] == [(0, 5), (4, 5), (8, 4)]
    assert [clip.time for clip in clips] == [0, 4 / 24, 8 / 24]
    whole = estimator.transform(np.stack(list(iter_video(film)))[np.newaxis])[0]
    np.testing.assert_array_equal(np.concatenate([clip.output for clip in clips]), whole)


def test_sources_are_alike():
    expected = shown(FRAMES, clip_length=5)
    assert shown(iter(FRAMES), clip_length=5) == expected
    assert shown((frame.tolist() for frame in FRAMES), clip_length=5) == expected
    FRAMES.flags.writeable = False
    assert shown(FRAMES[:, ::-1][:, ::-1], clip_length=5) == expected


def test_pipelines_and_methods():
    pipeline = make_pipeline(HornSchunck.from_preset("fast"), CameraCompensation(random_state=0))
    (clip,) = stream(FRAMES[:3], pipeline, progress=False)
    assert clip.output.shape == (2, 96, 128, 2) and clip.time is None
    classifier = make_pipeline(Counts(), DummyClassifier(strategy="constant", constant=1))
    classifier.fit(np.stack([FRAMES, FRAMES]), [0, 1])
    labels = stream(FRAMES, classifier, method="predict", clip_length=7, progress=False)
    assert [clip.output for clip in labels] == [1, 1]


def test_tables_give_their_rows():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = FunctionTransformer(lambda X: pandas.DataFrame({"mean": X.mean(axis=(1, 2, 3))}))
    rows = [clip.output for clip in stream(FRAMES, table, clip_length=7, progress=False)]
    assert [row["mean"] for row in rows] == [FRAMES[:7].mean(), FRAMES[6:].mean()]


def test_a_model_learns_from_a_stream():
    mixture = GaussianMixture(1, covariance_type="diag", random_state=0)
    samples = FunctionTransformer(lambda X: X[:, :, ::8, ::8].reshape(len(X), -1, 1))
    for clip in stream(FRAMES.astype(np.float64), samples, clip_length=4, step=4, progress=False):
        mixture.partial_fit(clip.output)
    assert mixture.means_.item() == pytest.approx(FRAMES[:, ::8, ::8].mean(), rel=1e-9)


def test_height_is_the_resampling_of_flow():
    (clip,) = stream(FRAMES[:2], FunctionTransformer(), height=40, progress=False)
    assert clip.pixel_size == 96 / 40 and clip.output.dtype == np.uint8
    assert clip.output.shape == (2, 40, 53)
    expected = FRAMES[0].astype(float)
    for size, new_size in ((96, 40), (128, 53)):
        start, weights = resampling_weights(size, new_size, 0.0)
        taps = np.clip(start + np.arange(len(weights))[:, np.newaxis], 0, size - 1)
        expected = (expected[taps] * weights[..., np.newaxis]).sum(axis=0).T
    np.testing.assert_allclose(clip.output[0], expected, atol=0.51)


def test_colour_gray_and_types():
    colour = np.stack([FRAMES, FRAMES // 2, FRAMES // 4], axis=-1)[:3]
    luminance = colour @ [0.299, 0.587, 0.114]
    for options in ({}, {"height": 96}, {"height": 200}):
        (clip,) = stream(colour, FunctionTransformer(), progress=False, **options)
        np.testing.assert_array_equal(clip.output, colour)
        assert clip.pixel_size == 1
    (clip,) = stream(colour, FunctionTransformer(), gray=True, progress=False)
    assert clip.output.dtype == np.uint8
    np.testing.assert_allclose(clip.output, luminance, atol=0.51)
    (small,) = stream(colour, FunctionTransformer(), height=48, progress=False)
    assert small.output.shape == (3, 48, 64, 3) and small.output.dtype == np.uint8
    (both,) = stream(colour, FunctionTransformer(), height=48, gray=True, progress=False)
    expected = small.output @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(both.output, expected, atol=1.1)
    for dtype, kept in [(np.uint16, np.uint16), (np.float64, np.float32), (bool, bool)]:
        frames = (FRAMES[:2] > 90) if dtype is bool else FRAMES[:2].astype(dtype)
        (clip,) = stream(frames, FunctionTransformer(), height=48, progress=False)
        assert clip.output.dtype == kept
    single = FRAMES[:2, ..., np.newaxis]
    (clip,) = stream(single, FunctionTransformer(), height=48, progress=False)
    assert clip.output.shape == (2, 48, 64, 1)


@pytest.mark.parametrize("n_frames", [40, 160])
def test_few_frames_are_in_memory(n_frames):
    frames = (np.full((120, 120), index, np.float64) for index in range(n_frames))
    brightness = FunctionTransformer(lambda X: X.mean(axis=(1, 2, 3)))
    tracemalloc.start()
    try:
        n_clips = sum(1 for _ in stream(frames, brightness, clip_length=5, progress=False))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_clips == -(-(n_frames - 1) // 4)
    assert most <= (2 * 5 + 3) * 120 * 120 * 8


@pytest.mark.parametrize("options", [{}, {"height": 16}])
def test_one_array_may_be_given_again_and_again(options):
    def generate():
        frame = np.empty((32, 40), np.uint8)
        for index in range(6):
            frame[:] = index
            yield frame

    assert shown(generate(), clip_length=4, **options) == [(0, [0, 1, 2, 3]), (3, [3, 4, 5])]


def test_frames_are_read_when_they_are_needed():
    n_read = 0

    def generate():
        nonlocal n_read
        for frame in numbered(100):
            n_read += 1
            yield frame

    clips = stream(generate(), Counts(), clip_length=5, progress=False)
    assert n_read == 0
    next(clips)
    assert n_read == 5
    next(clips)
    assert n_read == 9
    n_read = 0
    list(stream(generate(), Counts(), clip_length=5, stop=20, progress=False))
    assert n_read == 20


def test_leaving_early_closes_the_file(film, monkeypatch):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    opened, open_container = [], av.open

    def remember(*args, **kwargs):
        opened.append(open_container(*args, **kwargs))
        return opened[-1]

    clips = stream(film, Counts(), clip_length=3, progress=False)
    monkeypatch.setattr(av, "open", remember)
    next(clips)
    (container,) = opened
    next(container.decode(video=0))
    clips.close()
    with pytest.raises(Exception, match="not open"):
        next(container.decode(video=0))


def test_progress(film, capsys, monkeypatch):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    list(stream(film, Counts(), clip_length=4, progress=True))
    assert "4/4" in capsys.readouterr().err
    list(stream(iter(FRAMES), Counts(), clip_length=4, progress=True))
    assert "4clip" in capsys.readouterr().err
    for progress in (None, False):  # this is no terminal
        list(stream(film, Counts(), progress=progress))
        assert capsys.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "tqdm", None)  # as if it were not installed
    assert len(list(stream(film, Counts(), progress=None))) == 1
    with pytest.raises(ImportError, match=r"pip install fastmotion\[io\]"):
        list(stream(film, Counts(), progress=True))


def test_estimators_that_cannot_be_used():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        stream(FRAMES, Fitted())
    assert shown(FRAMES)
    assert len(list(stream(FRAMES, Fitted().fit(FRAMES), progress=False))) == 1
    with pytest.raises(NotFittedError):
        stream(FRAMES, make_pipeline(HornSchunck(), Fitted()))
    for estimator in (HornSchunck, "flow", None):
        with pytest.raises(TypeError, match="is a class|must have a method"):
            stream(FRAMES, estimator)
    with pytest.raises(TypeError, match="method 'predict'"):
        stream(FRAMES, HornSchunck(), method="predict")


@pytest.mark.parametrize(
    "frames, options, message",
    [
        ([], {}, "source has no frame; a clip takes at least 2"),
        (numbered(1), {}, "source has one frame; a clip takes at least 2"),
        (numbered(3), {"start": 3}, "no frame from frame 3 to the end"),
        (numbered(5), {"start": 2, "stop": 3}, "one frame from frame 2 to 3"),
        (numbered(3), {"last_clip": "drop"}, "3 frames; a clip takes 16: lower clip_length"),
        ([*numbered(3), np.zeros((16, 18), np.uint16)], {}, "frame 3 of source is uint16 of shape"),
        ([*numbered(3), np.zeros((16, 20))], {}, "frame 3 of source is float64"),
        ([np.zeros(5)], {}, "frame 0 of source must have shape"),
        ([np.zeros((20, 20, 4))], {}, "frame 0 of source must have shape"),
        ([np.zeros((8, 20))], {}, "at least 16 x 16"),
    ],
)
def test_frames_that_make_no_clips(frames, options, message):
    with pytest.raises(ValueError, match=message):
        list(stream(iter(frames), Counts(), progress=False, **options))


def test_frames_of_no_numbers():
    with pytest.raises(TypeError, match="frame 0 of source must hold real numbers"):
        list(stream([np.full((16, 16), "a")], Counts(), progress=False))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"clip_length": 1}, "clip_length"),
        ({"clip_length": 2.0}, "clip_length"),
        ({"step": 0}, "step"),
        ({"start": -1}, "start"),
        ({"start": float("nan")}, "start"),
        ({"start": 1.5}, "start must be a whole number of frames"),
        ({"stop": float("inf")}, "stop"),
        ({"start": 4, "stop": 4}, "stop must be later than start"),
        ({"unit": "minutes"}, "unit"),
        ({"unit": "seconds", "start": 1}, "start in seconds needs a frame rate"),
        ({"height": 8}, "height"),
        ({"gray": 3}, "gray"),
        ({"last_clip": "loop"}, "last_clip"),
        ({"fps": 0}, "fps"),
        ({"progress": "yes"}, "progress"),
    ],
)
def test_bad_arguments_are_told_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        stream(FRAMES, Counts(), **options)


def test_bad_sources(tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    with pytest.raises(TypeError, match="a path or an iterable of frames, got 3"):
        stream(3, Counts())
    with pytest.raises(FileNotFoundError, match="no.mp4 does not exist"):
        stream(tmp_path / "no.mp4", Counts())
    (tmp_path / "text.mp4").write_text("hello" * 100)
    with pytest.raises(ValueError, match="cannot be read as video"):
        stream(tmp_path / "text.mp4", Counts())
    write_video(tmp_path / "one.mp4", FRAMES[:1], fps=25)
    with pytest.raises(ValueError, match="one.mp4 has one frame"):
        list(stream(tmp_path / "one.mp4", Counts(), progress=False))
