"""Choosing motion kernels by leaving sequences out."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from fastmotion.datasets import make_motion
from fastmotion.trajectory import MotionKernel, MotionKernelCV

N_TAPS, ALPHAS, SHARING = (2, 4), (0.0, 1e5), ("all", "joint")


@pytest.fixture(scope="module")
def poses():
    """Sequences of different lengths, with gaps and far from the origin."""
    walks = make_motion("walk", n_sequences=5, n_frames=80, noise=3.0, random_state=0).observed
    walks = [walk[: 60 + 4 * i, :4] + 3000 for i, walk in enumerate(walks)]
    walks[1][20:23, 2] = np.nan
    return walks


def windows(poses, n_taps, horizon, widest):
    """Lagged frames and targets of each joint, of those windows that the widest kernel has too."""
    rows = {joint: ([], []) for joint in range(poses[0].shape[1])}
    for pose in poses:
        for t in range(widest - 1, len(pose) - horizon):
            for joint, coord in np.ndindex(*pose.shape[1:]):
                if np.isnan(pose[t - widest + 1 : t + horizon + 1, joint, coord]).any():
                    continue
                rows[joint][0].append(pose[t - n_taps + 1 : t + 1, joint, coord])
                rows[joint][1].append(pose[t + horizon, joint, coord])
    return {joint: (np.array(A), np.array(b)) for joint, (A, b) in rows.items()}


def fit_rows(parts, alpha):
    A, b = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    ridge = np.sqrt(alpha) * np.eye(A.shape[1])
    return np.linalg.lstsq(
        np.concatenate([A, ridge]), np.concatenate([b, np.zeros(len(ridge))]), rcond=None
    )[0]


def left_out_loss(poses, split, params, horizon):
    """Squared error and number of windows of the sequences of a split, from explicit windows."""
    seen = [pose for i, pose in enumerate(poses) if i not in split]
    args = params["n_taps"], horizon, max(N_TAPS)
    train, test = windows(seen, *args), windows([poses[i] for i in split], *args)
    total, count = 0.0, 0
    for joint, (A, b) in test.items():
        parts = train.values() if params["sharing"] == "all" else [train[joint]]
        total += ((b - A @ fit_rows(list(parts), params["alpha"])) ** 2).sum()
        count += len(b)
    return total / count


@pytest.mark.parametrize(
    ("cv", "splits"), [(None, [[0], [1], [2], [3], [4]]), (2, [[0, 2, 4], [1, 3]])]
)
def test_losses_are_those_of_kernels_that_did_not_see_the_sequences(poses, cv, splits):
    search = MotionKernelCV(
        MotionKernel(horizon=2), n_taps=N_TAPS, alphas=ALPHAS, sharing=SHARING, cv=cv
    ).fit(poses)
    results = search.cv_results_
    assert results["split_test_loss"].shape == (8, len(splits))
    for params, losses in zip(results["params"], results["split_test_loss"]):
        expected = [left_out_loss(poses, split, params, 2) for split in splits]
        np.testing.assert_allclose(losses, expected, rtol=1e-7)
    best = results["mean_test_loss"].argmin()
    assert search.best_params_ == results["params"][best]
    assert search.best_loss_ == results["mean_test_loss"][best]


def test_best_kernel_is_fitted_to_all_sequences(poses):
    search = MotionKernelCV(n_taps=(4,), sharing=("joint",)).fit(poses)
    kernel = MotionKernel(4, sharing="joint").fit(poses)
    np.testing.assert_allclose(search.coef_, kernel.coef_, rtol=1e-10)
    for got, expected in zip(search.predict(poses), kernel.predict(poses)):
        np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert search.score(poses) == pytest.approx(kernel.score(poses), abs=1e-12)


def test_target_values_and_weights(poses, rng):
    """Errors against a target agree with those of a kernel that saw the rest."""
    y = [rng.standard_normal(pose.shape) + pose for pose in poses]
    weights = [1.0, 2.0, 0.5, 1.0, 3.0]
    search = MotionKernelCV(n_taps=(3,)).fit(poses, y, sample_weight=weights)
    kernel = MotionKernel(3).fit(poses[1:], y[1:], sample_weight=weights[1:])
    errors = (y[0] - kernel.transform(poses[0]))[2:]
    loss = search.cv_results_["split_test_loss"][0, 0]
    assert loss == pytest.approx(np.mean(errors**2), rel=1e-7)


def test_groups_are_left_out_together(poses):
    by_groups = MotionKernelCV(n_taps=(3,)).fit(poses, groups=["a", "b", "a", "b", "a"])
    by_parts = MotionKernelCV(n_taps=(3,), cv=2).fit(poses)
    np.testing.assert_array_equal(
        by_groups.cv_results_["split_test_loss"], by_parts.cv_results_["split_test_loss"]
    )


def test_noise_makes_the_loss_that_against_the_clean_target():
    """What is minimised is the error against motion that was never seen without its noise."""
    motion = make_motion("walk", n_sequences=20, n_frames=400, noise=10.0, random_state=1)
    kernel = MotionKernel(causal=False, target="position", noise=10.0)
    search = MotionKernelCV(kernel, n_taps=(5, 11, 21)).fit(motion.observed)
    for params, loss in zip(search.cv_results_["params"], search.cv_results_["mean_test_loss"]):
        fitted = clone(kernel).set_params(**params).fit(motion.observed)
        errors = (fitted.transform(motion.observed) - motion.positions)[:, 12:-12]
        assert loss == pytest.approx(np.mean(errors**2), rel=0.05)


def test_results_do_not_depend_on_threads(poses):
    one, two = (MotionKernelCV(MotionKernel(n_jobs=n), sharing=SHARING).fit(poses) for n in (1, 2))
    np.testing.assert_array_equal(one.coef_, two.coef_)


def test_manners(poses):
    estimator = MotionKernel(horizon=2)
    search = MotionKernelCV(estimator, n_taps=N_TAPS)
    before = search.get_params()
    restored = pickle.loads(pickle.dumps(clone(search).fit(poses)))
    search.fit(poses)
    assert search.get_params() == before and not hasattr(estimator, "coef_")
    np.testing.assert_array_equal(restored.coef_, search.coef_)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (MotionKernelCV(MotionKernel(loss="huber")), "loss='squared'"),
        (MotionKernelCV(MotionKernel(fit_intercept=True)), "fit_intercept=False"),
        (MotionKernelCV(n_taps=()), "at least one value"),
        (MotionKernelCV(n_taps=(2, -1)), "'n_taps' parameter"),
        (MotionKernelCV(sharing=("all", "body")), "'sharing' parameter"),
        (MotionKernelCV(n_taps=(2, 100)), "longest sequence has 76"),
        (MotionKernelCV(cv=1), "'cv' parameter"),
    ],
)
def test_bad_parameters_are_refused(poses, search, message):
    with pytest.raises(ValueError, match=message):
        search.fit(poses)


def test_one_sequence_cannot_be_left_out(poses):
    with pytest.raises(ValueError, match="at least two of them"):
        MotionKernelCV().fit(poses[0])
    with pytest.raises(ValueError, match="one label for each of 5 sequences"):
        MotionKernelCV().fit(poses, groups=[0, 1])
