import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from fastmotion.trajectory import LinearMotionPredictor
from tests.reference.prediction import lagged, ridge

HORIZONS = (1, 3)


def walks(rng, lengths=(40, 23, 57), n_joints=3, n_coords=2, offset=0.0):
    """Return ragged smooth random walks whose channels depend on each other."""
    mix = rng.normal(size=(n_joints * n_coords, n_joints * n_coords))
    return [
        (np.cumsum(rng.normal(size=(n, len(mix))), axis=0) @ mix).reshape(n, n_joints, n_coords)
        + offset
        for n in lengths
    ]


def explicit_prediction(weights, poses, t, n_taps, horizon_index):
    flat = poses.reshape(len(poses), -1)
    changes = np.concatenate([flat[t - i] - flat[t - i - 1] for i in range(n_taps - 1)])
    n = flat.shape[1]
    move = changes @ weights[:, horizon_index * n : (horizon_index + 1) * n]
    return (flat[t] + move).reshape(poses.shape[1:])


@pytest.mark.parametrize("n_taps", [2, 5])
@pytest.mark.parametrize("alpha", [0, 1e-3, 0.5])
@pytest.mark.parametrize("offset", [0, 3e3])
def test_equals_least_squares_on_the_lagged_matrix(rng, n_taps, alpha, offset):
    X = walks(rng, offset=offset)
    predictor = LinearMotionPredictor(n_taps, horizons=HORIZONS, alpha=alpha).fit(X)
    rows, moves = lagged(X, n_taps, HORIZONS)
    weights = ridge(rows, moves, alpha)
    assert predictor.n_windows_ == len(rows)
    for sequence, predictions in zip(X, predictor.predict(X)):
        for i in range(len(HORIZONS)):
            for t in (n_taps - 1, 20, len(sequence) - 1):
                expected = explicit_prediction(weights, sequence, t, n_taps, i)
                np.testing.assert_allclose(
                    predictions[t, ..., i] - offset, expected - offset, rtol=1e-10, atol=1e-10
                )


def test_coefficients_are_those_of_the_poses(rng):
    X = walks(rng)
    predictor = LinearMotionPredictor(4, horizons=HORIZONS).fit(X)
    np.testing.assert_array_equal(predictor.offsets_, [-3, -2, -1, 0])
    assert predictor.coef_.shape == (2, 3, 2, 3, 2, 4)
    window = X[0][7 + predictor.offsets_]
    expected = np.einsum("hjckdi,ikd->jch", predictor.coef_, window)
    np.testing.assert_allclose(predictor.predict(X[0])[7], expected, rtol=1e-12)
    identity = np.eye(6).reshape(3, 2, 3, 2)
    np.testing.assert_allclose(predictor.coef_.sum(-1), [identity, identity], atol=1e-14)


@pytest.mark.parametrize("missing", [20, 0, 56])
def test_windows_with_a_gap_are_left_out(rng, missing):
    X = walks(rng)
    X[2][missing, 1, 0] = np.nan
    predictor = LinearMotionPredictor(4, horizons=HORIZONS).fit(X)
    rows, moves = lagged(X, 4, HORIZONS)
    assert predictor.n_windows_ == len(rows)
    weights = ridge(rows, moves, 0.03)
    got = predictor.predict(X)
    expected = explicit_prediction(weights, X[0], 12, 4, 1)
    np.testing.assert_allclose(got[0][12, ..., 1], expected, rtol=1e-10)
    is_nan = np.isnan(got[2]).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(is_nan, np.isnan(got[2]).all(axis=(1, 2, 3)))
    incomplete = {0, 1, 2, *range(missing, min(missing + 4, 57))}
    assert set(np.flatnonzero(is_nan)) == incomplete


def test_shift_does_not_matter_and_scale_scales(rng):
    X = walks(rng)
    plain = LinearMotionPredictor(4, horizons=HORIZONS).fit(X)
    moved = LinearMotionPredictor(4, horizons=HORIZONS).fit([1000 * x + 5e5 for x in X])
    np.testing.assert_allclose(moved.coef_, plain.coef_, atol=1e-10)
    shift = rng.normal(size=2) * 1e3
    np.testing.assert_allclose(
        plain.predict(X[0] + shift)[3:], plain.predict(X[0])[3:] + shift[:, None]
    )


def test_horizons_are_those_of_one_fit_each_on_the_same_windows(rng):
    X = walks(rng)
    both = LinearMotionPredictor(4, horizons=(3, 1)).fit(X)
    three = LinearMotionPredictor(4, horizons=(3,)).fit(X)
    np.testing.assert_allclose(both.coef_[0], three.coef_[0], atol=1e-12)
    assert LinearMotionPredictor(4, horizons=np.array([3])).fit(X).n_windows_ == three.n_windows_


def test_partial_fit_and_merge_give_what_fit_gives(rng):
    X = walks(rng, lengths=(40, 23, 57, 5))
    whole = LinearMotionPredictor(4, horizons=HORIZONS).fit(X)
    parts = LinearMotionPredictor(4, horizons=HORIZONS).partial_fit(X[2])
    parts.partial_fit(X[3]).partial_fit(X[:2])
    first = LinearMotionPredictor(4, horizons=HORIZONS).fit(X[:1])
    rest = LinearMotionPredictor(4, horizons=HORIZONS).fit(X[1:])
    coef = rest.coef_.copy()
    first.merge(rest)
    np.testing.assert_array_equal(rest.coef_, coef)
    for other in (parts, first):
        assert other.n_windows_ == whole.n_windows_
        np.testing.assert_allclose(other.coef_, whole.coef_, atol=1e-12)


def test_weights_are_how_often_sequences_count(rng):
    X = walks(rng, lengths=(40, 23, 57, 30))
    weighed = LinearMotionPredictor(4).fit(X, sample_weight=[2, 1, 0, 3])
    repeated = LinearMotionPredictor(4).fit([X[i] for i in (0, 0, 1, 3, 3, 3)])
    np.testing.assert_allclose(weighed.coef_, repeated.coef_, atol=1e-12)
    assert weighed.n_windows_ == LinearMotionPredictor(4).fit([X[0], X[1], X[3]]).n_windows_
    parts = LinearMotionPredictor(4).partial_fit(X[:2], sample_weight=[2, 1])
    parts.partial_fit(X[2:], sample_weight=[0, 3])
    np.testing.assert_allclose(parts.coef_, weighed.coef_, atol=1e-12)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -1, 1], "sample_weight must be finite and not negative"),
        ([1, 1], "sample_weight must have one of the shapes"),
        (np.ones(120), "one weight for each of 3 sequences, got one for each frame"),
        ([0, 1, 0], "run of 31 frames"),
    ],
)
def test_wrong_weights(rng, weights, message):
    with pytest.raises(ValueError, match=message):
        LinearMotionPredictor(30).fit(walks(rng), sample_weight=weights)


def test_many_segments_are_summed_in_batches(rng):
    X = walks(rng, lengths=(9,) * 150)
    predictor = LinearMotionPredictor(3, horizons=(2,)).fit(X)
    weights = ridge(*lagged(X, 3, (2,)), 0.03)
    expected = explicit_prediction(weights, X[-1], 6, 3, 0)
    np.testing.assert_allclose(predictor.predict(X[-1])[6, ..., 0], expected, rtol=1e-10)


def test_still_and_dependent_joints_have_a_least_norm_solution(rng):
    X = walks(rng)
    X = [np.concatenate([x, x[:, :1], np.full((len(x), 1, 2), 7.0)], axis=1) for x in X]
    predictor = LinearMotionPredictor(3, alpha=0).fit(X)
    predictions = predictor.predict(X[0])[2:]
    np.testing.assert_allclose(predictions[:, 4], 7)
    np.testing.assert_allclose(predictions[:, 3], predictions[:, 0], rtol=1e-8)
    weights = ridge(*lagged(X, 3, (1,)), 0)
    np.testing.assert_allclose(
        predictions[5, ..., 0], explicit_prediction(weights, X[0], 7, 3, 0), rtol=1e-8
    )


def test_score_is_the_part_of_the_motion_that_is_predicted(rng):
    X = walks(rng)
    X[1][5] = np.nan
    predictor = LinearMotionPredictor(3, horizons=HORIZONS).fit(X)
    error, motion = np.zeros(2), np.zeros(2)
    for sequence, predictions in zip(X, predictor.predict(X)):
        for i, h in enumerate(HORIZONS):
            miss = sequence[h:] - predictions[:-h, ..., i]
            is_seen = np.isfinite(miss)
            error[i] += (miss[is_seen] ** 2).sum()
            motion[i] += ((sequence[h:] - sequence[:-h])[is_seen] ** 2).sum()
    assert predictor.score(X) == pytest.approx(np.mean(1 - error / motion))
    line = np.arange(30.0).reshape(30, 1, 1)
    assert LinearMotionPredictor(3, alpha=0).fit(line).score(line) == pytest.approx(1)


def test_float32_stays_float32_and_far_from_the_origin_loses_nothing(rng):
    X = [(x + 3000).astype(np.float32) for x in walks(rng)]
    double = [x.astype(np.float64) for x in X]
    single = LinearMotionPredictor(4).fit(X)
    np.testing.assert_array_equal(single.coef_, LinearMotionPredictor(4).fit(double).coef_)
    predictions = single.predict(X)
    assert {p.dtype for p in predictions} == {np.dtype(np.float32)}
    for got, wanted in zip(predictions, single.predict(double)):
        np.testing.assert_array_equal(got, wanted.astype(np.float32))


@pytest.mark.parametrize("shape", [(4, 30, 3, 2), (30, 3, 2)])
def test_arrays_keep_their_shape(rng, shape):
    X = np.cumsum(rng.normal(size=shape), axis=-3)
    X.setflags(write=False)
    predictor = LinearMotionPredictor(4, horizons=HORIZONS).fit(X)
    predictions = predictor.predict(X)
    assert predictions.shape == (*shape, 2)
    moved = LinearMotionPredictor(4, horizons=HORIZONS, axes=("coord", "frame", "joint")).fit(
        list(np.moveaxis(np.atleast_2d(X).reshape(-1, 30, 3, 2), -1, 1))
    )
    np.testing.assert_allclose(moved.coef_, predictor.coef_, atol=1e-12)


def test_xarray_keeps_its_dimensions(rng):
    xarray = pytest.importorskip("xarray")
    X = np.cumsum(rng.normal(size=(30, 2, 3)), axis=0)
    data = xarray.DataArray(X, dims=("time", "space", "keypoints"), coords={"space": ["x", "y"]})
    predictor = LinearMotionPredictor(3, horizons=HORIZONS).fit(data)
    predictions = predictor.predict(data)
    assert predictions.dims == ("time", "space", "keypoints", "horizon")
    assert list(predictions.space.values) == ["x", "y"]
    array = (
        LinearMotionPredictor(3, horizons=HORIZONS).fit(X.swapaxes(1, 2)).predict(X.swapaxes(1, 2))
    )
    np.testing.assert_allclose(predictions.values, array.swapaxes(1, 2))


def test_short_sequences_are_predicted_as_nan(rng):
    predictor = LinearMotionPredictor(4).fit(walks(rng))
    for n in (1, 3):
        assert np.isnan(predictor.predict(np.zeros((n, 3, 2)))).all()


def test_clone_and_pickle(rng):
    X = walks(rng)
    predictor = LinearMotionPredictor(4, horizons=[1, 3], alpha=0.1)
    assert clone(predictor).get_params() == predictor.get_params()
    loaded = pickle.loads(pickle.dumps(predictor.fit(X[:2])))
    np.testing.assert_array_equal(loaded.predict(X[2]), predictor.predict(X[2]))
    loaded.partial_fit(X[2])
    np.testing.assert_allclose(loaded.coef_, clone(predictor).fit(X).coef_, atol=1e-12)


def test_tags_tell_what_it_takes():
    tags = get_tags(LinearMotionPredictor())
    assert tags.input_tags.three_d_array
    assert tags.input_tags.allow_nan
    assert not tags.input_tags.two_d_array


def test_alpha_draws_to_a_pose_that_stays(rng):
    X = walks(rng)
    predictions = LinearMotionPredictor(4, alpha=1e9).fit(X).predict(X[0])[3:, ..., 0]
    np.testing.assert_allclose(predictions, X[0][3:], atol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_taps": 1}, "'n_taps' parameter"),
        ({"alpha": -1}, "'alpha' parameter"),
        ({"horizons": 3}, "'horizons' parameter"),
        ({"horizons": ()}, "horizons must be different whole numbers of frames"),
        ({"horizons": (3, 3)}, r"horizons must be different .* got \(3, 3\)"),
        ({"horizons": (0,)}, "at least 1 each, got"),
        ({"horizons": (1.5,)}, "horizons must be different whole numbers of frames"),
        ({"n_taps": 60}, "61 frames .* got sequences of up to 57 frames; choose fewer taps"),
        ({"horizons": (100,)}, "a horizon of 100"),
        ({"axes": ("joint", "coord")}, "axes must name"),
    ],
)
def test_parameter_out_of_range_is_an_error(rng, parameters, message):
    with pytest.raises(ValueError, match=message):
        LinearMotionPredictor(**parameters).fit(walks(rng))


def test_input_that_cannot_be_fitted_is_an_error(rng):
    X = walks(rng)
    X[0][3, 1, 0] = np.inf
    with pytest.raises(ValueError, match="X must not hold infinite values; mark"):
        LinearMotionPredictor(3).fit(X)
    X = np.ones((30, 3, 2))
    X[:, 1, 0] = np.nan
    with pytest.raises(ValueError, match=r"no value in any frame for joint\(s\) \[1\]; leave"):
        LinearMotionPredictor(3).fit(X)
    with pytest.raises(TypeError, match="must hold real numbers"):
        LinearMotionPredictor(3).fit(X + 1j)
    with pytest.raises(ValueError, match="must have shape"):
        LinearMotionPredictor(3).fit(X[:, 0])


def test_use_that_does_not_fit_the_fit_is_an_error(rng):
    X = walks(rng)
    with pytest.raises(NotFittedError):
        LinearMotionPredictor(3).predict(X)
    predictor = LinearMotionPredictor(3).fit(X)
    coef = predictor.coef_
    with pytest.raises(ValueError, match="3 joints of 2 coordinates as in fit, got 2 of 2"):
        predictor.predict(X[0][:, :2])
    with pytest.raises(ValueError, match="3 joints of 2 coordinates as in fit, got 3 of 1"):
        predictor.partial_fit(X[0][..., :1])
    with pytest.raises(ValueError, match="must hold motion to predict"):
        predictor.score(np.ones((30, 3, 2)))
    with pytest.raises(ValueError, match="got sequences of up to 3 frames"):
        predictor.score(X[0][:3])
    with pytest.raises(TypeError, match="must be a LinearMotionPredictor, got int"):
        predictor.merge(3)
    with pytest.raises(ValueError, match="call fit for others"):
        predictor.merge(LinearMotionPredictor(4).fit(X))
    with pytest.raises(ValueError, match=r"poses of \(3, 2\) joints and coordinates, got \(2, 2\)"):
        predictor.merge(LinearMotionPredictor(3).fit(X[0][:, :2]))
    with pytest.raises(ValueError, match="call fit for others"):
        predictor.set_params(n_taps=4).partial_fit(X)
    assert predictor.coef_ is coef


@pytest.mark.data
def test_motion_capture_is_predicted_better_than_by_constant_velocity(data_dir):
    joints = np.setdiff1d(np.arange(38), [0, 1, 2, 7, 8, 13, 16, 20, 24, 27, 29, 33, 36])
    with np.load(data_dir / "trajectory" / "cmu_mocap_8actions.npz") as file:
        X = np.split(file["X"][:, joints], np.cumsum(file["lengths"])[:-1])
        is_test, action, number = file["split"] == 1, file["action"], file["number"]
    is_glitchy = (action == "directing_traffic") & (number == 1)
    is_kept = (action != "walking_extra") & ~is_glitchy
    train = [X[i] for i in np.flatnonzero(is_kept & ~is_test)]
    test = [X[i] for i in np.flatnonzero(is_kept & is_test)]
    horizons = (8, 10)
    predictor = LinearMotionPredictor(horizons=horizons).fit(train)
    errors = []
    for sequence, predictions in zip(test, predictor.predict(test)):
        t = np.arange(19, len(sequence) - 25)
        miss = [predictions[t, ..., i] - sequence[t + h] for i, h in enumerate(horizons)]
        errors.append(np.linalg.norm(miss, axis=-1).mean(axis=(1, 2)))
    assert (np.mean(errors, axis=0) <= (51, 66.5)).all()
