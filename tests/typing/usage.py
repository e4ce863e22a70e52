"""What users write, for a type checker; nothing here runs.

Every public name is used once at least, and the types that matter are asserted. What may be an
array of a device's library is Any.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastmotion
from fastmotion import (
    datasets,
    display,
    epipolar,
    features,
    flow,
    hmm,
    io,
    linear,
    metrics,
    mixture,
    trajectory,
    video,
)

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]


def use_settings() -> None:
    assert_type(fastmotion.__version__, str)
    fastmotion.set_config(device="cuda:0", n_jobs=None)
    with fastmotion.config_context(n_jobs=2):
        assert_type(fastmotion.get_config()["device"], str)
    assert_type(fastmotion.warmup(["flow", "hmm"], device="cpu"), dict[str, float])
    fastmotion.free_memory()
    fastmotion.show_versions()


def use_flow(clips: NDArray[np.uint8], frame0: Floats, frame1: Floats) -> None:
    assert_type(flow.HornSchunck(n_warps=3).fit(clips), flow.HornSchunck)
    assert_type(flow.LucasKanade.from_preset("fast", n_jobs=2), flow.LucasKanade)
    estimator = flow.LucasKanade(window_size=9).set_output(transform="default")
    assert_type(estimator, flow.LucasKanade)
    assert_type(estimator.transform(clips), Any)
    assert_type(estimator.estimate(frame0, frame1, return_confidence=True), Any)
    forward = flow.horn_schunck(frame0, frame1, n_warps=3)
    backward = flow.lucas_kanade(frame1, frame0, initial_flow=-forward)
    assert_type(flow.forward_backward_error(forward, backward), Any)
    assert_type(flow.warp(frame1, forward, fill_value=0.0), Any)
    dx, _, _ = flow.image_derivatives(frame0, frame1, stencil="barron")
    assert_type(dx, Any)
    assert_type(metrics.endpoint_error(backward, forward), float)
    assert_type(metrics.angular_error(backward, forward, mask=frame0 > 0), float)
    assert_type(
        metrics.endpoint_error(backward, forward, reduction="none"), NDArray[np.floating[Any]]
    )
    assert_type(metrics.known_pixels(forward), Flags)


def use_trajectories(X: Floats, sequences: list[Floats], y: list[str]) -> None:
    kernel = trajectory.MotionKernel(5, target="velocity", noise="auto", fps=60.0)
    assert_type(kernel.fit(X, sample_weight=[1.0, 2.0]), trajectory.MotionKernel)
    assert_type(kernel.partial_fit(X).merge(trajectory.MotionKernel().fit(X)).score(X), float)
    assert_type(kernel.fit_transform(sequences), Any)
    assert_type(kernel.predict(sequences), Any)
    kernel.check_parameters()
    search = trajectory.MotionKernelCV(kernel, n_taps=range(2, 9), sharing=("all", "joint"))
    assert_type(search.fit(sequences, groups=[0, 0, 1]).best_estimator_, trajectory.MotionKernel)
    bank = trajectory.MotionKernelBank(learned="class", pooling=("mean", "std"))
    assert_type(bank.fit(sequences, y), trajectory.MotionKernelBank)
    assert_type(bank.transform(X), Any)
    predictor = trajectory.LinearMotionPredictor(n_taps=3, horizons=(1, 10)).fit(sequences)
    assert_type(predictor, trajectory.LinearMotionPredictor)
    assert_type(predictor.predict(X), Any)
    offsets, weights = trajectory.fixed_kernel("savgol", n_taps=5)
    assert_type(offsets, Labels)
    assert_type(trajectory.frequency_response(offsets, weights, [0.0, 0.5]), NDArray[np.complex128])
    assert_type(trajectory.interpolate_gaps(sequences, max_gap=3), Any)


def use_linear(A: Floats, b: Floats) -> None:
    model = linear.LeastSquares(alpha=1.0).fit(A, b)
    assert_type(model.partial_fit(A, b).merge(model), linear.LeastSquares)
    assert_type(model.condition_number_, float)
    equations = linear.NormalEquations().update(A, b) + linear.NormalEquations()
    assert_type(equations, linear.NormalEquations)
    assert_type(equations.solve(constraints=[[1, 1]], values=[0]), Floats)
    assert_type(linear.NormalEquations.from_moments(A, b, 1.0, 10), linear.NormalEquations)
    assert_type(linear.solve_quadratic(equations.gram, equations.moment), Floats)


def use_mixtures(X: Floats, given: list[list[float]]) -> None:
    model = mixture.GaussianMixture("auto", random_state=np.random.RandomState(0))
    assert_type(model.fit(X, sample_weight=[1.0] * len(X)), mixture.GaussianMixture)
    assert_type(model.fit_predict(X), Labels)
    assert_type(model.partial_fit(X).merge(model), mixture.GaussianMixture)
    assert_type(model.predict(given), Labels)
    assert_type(model.score(given), float)
    samples, components = model.sample(10)
    assert_type(components, Labels)
    conditional = model.condition(given, columns=[0])
    assert_type(conditional, mixture.ConditionalMixture)
    assert_type(conditional.mean(), NDArray[Any])
    result = mixture.select_components(samples, criterion="icl")
    assert_type(result, mixture.SelectionResult)
    assert_type(result.best, mixture.Mixture)
    assert_type(result.n_components, int)
    assert issubclass(mixture.SingularCovarianceWarning, UserWarning)


def use_hidden_markov_models(X: Floats, sequences: list[Floats]) -> None:
    model = hmm.GaussianHMM(3, "full", n_iter=20, random_state=0)
    model.monitor_ = hmm.ConvergenceMonitor(1e-3, 20, verbose=False)
    assert_type(model.fit(sequences), hmm.GaussianHMM)
    assert_type(model.predict(X, lengths=[10, 20]), Labels)
    log_prob, path = model.decode(X, algorithm="map")
    assert_type(log_prob, float)
    assert_type(path, Labels)
    assert_type(model.score_samples(X), tuple[float, NDArray[Any]])
    assert_type(model.bic(X), float)
    assert_type(model.monitor_.converged, bool)


def use_two_views(matches: Floats, points: list[list[float]], K: Floats) -> None:
    model = epipolar.FundamentalMatrix(residual_threshold=1.0, random_state=0)
    assert_type(model.fit(matches, quality=[1.0] * len(matches)), epipolar.FundamentalMatrix)
    assert_type(model.fit_predict(matches), Flags)
    assert_type(model.predict(matches), Flags)
    assert_type(model.epipolar_lines(points), Floats)
    assert_type(model.covariance_, Floats)
    assert_type(model.epipolar_band(points), epipolar.EpipolarBand)
    homography = epipolar.Homography(method="ransac").fit(points, points)
    assert_type(homography, epipolar.Homography)
    assert_type(homography.transform(points), Floats)
    for fitted in homography.fit_batch([matches, matches]):
        if fitted:
            assert_type(fitted, epipolar.Homography)
        else:
            assert_type(fitted, epipolar.Homography | epipolar.FailedFit)
    assert issubclass(epipolar.DegenerateMatchesWarning, UserWarning)


def use_geometry(matches: Floats, points: Floats, K: Floats, R: Floats, t: Floats) -> None:
    F, size = epipolar.eight_point(matches), (640, 480)
    assert_type(epipolar.design_rank(matches), int)
    assert_type(epipolar.seven_point(matches[:7]), Floats)
    assert_type(epipolar.polish_fundamental(F, matches, 1.0), epipolar.PolishedFundamental)
    covariance = epipolar.fundamental_covariance(F, matches)
    band = epipolar.epipolar_band(F, covariance, points)
    assert_type(band.contains(points), Flags)
    assert_type(band.edges(size), Floats)
    assert_type(epipolar.line_covariance(F, covariance, points), Floats)
    assert_type(epipolar.epipole_covariance(F, covariance), Floats)
    assert_type(epipolar.epipoles(F), Floats)
    assert_type(epipolar.epipolar_lines(F, points, image=2), Floats)
    assert_type(epipolar.epipolar_pencil(F, size), tuple[Floats, Floats])
    assert_type(epipolar.sampson_distance(F, matches), Floats)
    assert_type(epipolar.symmetric_epipolar_distance(F, matches), Floats)
    E = epipolar.essential_from_fundamental(F, K)
    pose = epipolar.recover_pose(E, matches, K)
    assert_type(pose, epipolar.RelativePose)
    assert_type(pose.n_in_front, int)
    P1, P2 = epipolar.projections_from_cameras(K, pose.R, pose.t)
    assert_type(epipolar.triangulate(P1, P2, matches, homogeneous=True), Floats)
    assert_type(epipolar.fundamental_from_projections(P1, P2), Floats)
    assert_type(epipolar.fundamental_from_cameras(K, R, t), Floats)
    assert_type(epipolar.rectify(F, matches, size), epipolar.Rectification)
    assert_type(epipolar.rectify_cameras(K, R, t, image_size=size), epipolar.RectifiedCameras)
    H = epipolar.homography_from_points(matches)
    assert_type(epipolar.transform_points(H, points), Floats)
    assert_type(epipolar.transfer_distance(H, matches, symmetric=True), Floats)
    assert_type(epipolar.planar_sampson_distance(H, matches), Floats)
    assert_type(epipolar.transfer_covariance(H, covariance, points), Floats)


def use_features(flows: NDArray[np.float32], bags: list[Floats]) -> None:
    histogram = features.FlowHistogram(n_orientations=8, grid=(3, 2, 2))
    assert_type(histogram.fit(flows), features.FlowHistogram)
    assert_type(histogram.transform(flows), Any)
    vector = features.FisherVector(16, random_state=0).fit(bags)
    assert_type(vector, features.FisherVector)
    assert_type(vector.transform(bags), Any)


def use_video(path: Path, flows: NDArray[np.float32], H: Floats) -> None:
    camera = video.CameraCompensation().fit(flows)
    assert_type(camera, video.CameraCompensation)
    assert_type(camera.estimate(flows), video.CompensatedFlow)
    assert_type(video.camera_motion(H, (48, 64)), video.CameraMotion)
    assert_type(video.homography_flow(H, (48, 64)), NDArray[np.float32])
    for clip in video.stream(path, flow.HornSchunck(), clip_length=8):
        assert_type(clip, video.ClipResult)
    assert_type(video.motion_table("video.mp4"), dict[str, NDArray[Any]])


def use_files(path: Path, field: Floats) -> None:
    assert_type(io.read_flow(path), NDArray[np.float32])
    assert_type(io.read_flo("field.flo"), NDArray[np.float32])
    assert_type(io.read_kitti_flow(path), tuple[NDArray[np.float32], Flags])
    assert_type(io.read_image(path), NDArray[Any])
    assert_type(io.video_info(path), io.VideoInfo)
    assert_type(io.iter_video(path), Iterator[NDArray[np.uint8]])
    io.write_flow(path, field)
    io.write_flo(path, field)
    io.write_kitti_flow(path, field, valid=field[..., 0] > 0)
    io.write_image(path, np.zeros((4, 4), np.uint8))
    io.write_video(path, [np.zeros((4, 4), np.uint8)], fps=Fraction(30000, 1001))


def use_displays(model: mixture.GaussianMixture, X: Floats, field: Floats) -> None:
    assert_type(display.FlowDisplay.from_flow(field).plot("quiver"), display.FlowDisplay)
    assert_type(display.MixtureDisplay.from_estimator(model, X), display.MixtureDisplay)
    assert_type(
        display.ConvergenceDisplay.from_estimators({"a": model}), display.ConvergenceDisplay
    )
    assert_type(display.KernelDisplay([-1, 0], [-1.0, 1.0]).plot(), display.KernelDisplay)
    assert_type(
        display.EpipolarDisplay.from_fundamental(X, image_size=(64, 48)), display.EpipolarDisplay
    )
    assert_type(display.flow_to_color(field), NDArray[np.uint8])
    assert_type(display.color_wheel(51), NDArray[np.uint8])
    assert_type(display.plot_flow_comparison(X, {"ours": field}, truth=field), Any)


def use_datasets() -> None:
    assert_type(datasets.make_motion("walk", noise=5.0).positions, Any)
    assert_type(datasets.make_warped_photograph(motion=(1.0, 2.0)).flow, Any)
    assert_type(datasets.make_warped_clip(3, shape=(48, 64)).frames, Any)
    assert_type(datasets.load_motorcycle().mask, Any)
    assert_type(datasets.make_hmm(3, (20, 30, 25)).X, Any)
    assert_type(datasets.make_gaussian_mixture(500).X, Any)
    truth: datasets.TrueMixture = datasets.make_gaussian_set("fj1").truth
    assert_type(truth.sample(10), tuple[Floats, Labels])
    view = datasets.make_two_view("plane", image_size=(640, 480))
    assert_type(view, datasets.TwoView)
    assert_type(view.inlier_mask, Flags)
