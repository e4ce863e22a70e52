import re

import numpy as np
import pytest

from fastmotion.cli import kernel as command
from fastmotion.cli import main
from fastmotion.datasets import make_motion
from fastmotion.trajectory import MotionKernel
from fastmotion.trajectory.design import TARGETS
from fastmotion.trajectory.filtering import EDGES
from fastmotion.trajectory.kernel_file import kernel_from_arrays, kernel_to_arrays
from fastmotion.trajectory.lags import SHARING


@pytest.fixture(scope="module")
def walk():
    return make_motion("walk", n_sequences=2, n_frames=80, noise=3.0, random_state=0)


@pytest.fixture
def files(tmp_path, walk, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("poses.npz", positions=walk.observed, fps=60.0)
    return tmp_path


def saved(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def assert_one_error(err, message):
    assert re.fullmatch(r"fastmotion: error: .*\n", err), err
    assert re.search(message, err), err


@pytest.mark.parametrize(
    ("options", "params"),
    [
        ([], {}),
        (["--n-taps", "9", "--centred", "--target", "velocity"], {"n_taps": 9, "causal": False}),
        (["--sharing", "joint", "--alpha", "1e3", "--prior", "hold"], {"sharing": "joint"}),
        (["--edges", "valid", "--horizon", "3", "--residual"], {"residual": True}),
        (["--noise", "auto", "--window", "0.1", "--loss", "huber"], {"noise": "auto"}),
        (["--noise", "3", "--weight-sum", "1", "--target", "position"], {"noise": 3.0}),
    ],
)
def test_what_was_fitted_is_applied(files, walk, options, params):
    assert main(["kernel", "fit", "poses.npz", "-o", "kernel.npz", *options]) == 0
    assert main(["kernel", "apply", "kernel.npz", "poses.npz", "-o", "out.npz"]) == 0
    names = {"--alpha": float, "--horizon": int, "--window": float, "--weight-sum": float}
    for flag, value in zip(options, options[1:]):
        if flag in (*names, "--target", "--prior", "--edges", "--loss"):
            params = {**params, flag[2:].replace("-", "_"): names.get(flag, str)(value)}
    expected = MotionKernel(**params, fps=60.0).fit(walk.observed).transform(walk.observed)
    result = saved("out.npz")
    np.testing.assert_array_equal(result["output"], expected)
    assert result["fps"] == 60
    assert set(result) == {"output", "fps"}


def test_table(files, walk, capsys):
    assert main(["kernel", "fit", "poses.npz", "-o", "kernel.npz", "--n-taps", "3"]) == 0
    kernel = MotionKernel(3, fps=60.0).fit(walk.observed)
    first, heading, *rows, total, last = capsys.readouterr().out.splitlines()
    assert first == f"1 kernel(s) of 3 taps, {kernel.n_windows_} windows"
    assert heading.split() == ["frame", "weight"]
    assert [row.split() for row in rows] == [
        [str(offset), f"{weight:.6g}"] for offset, weight in zip((-2, -1, 0), kernel.coef_)
    ]
    assert total.split() == ["sum", f"{kernel.coef_.sum():.6g}"]
    assert last.startswith(f"R² {kernel.score(walk.observed):.6f}, condition ")
    lagged = np.lib.stride_tricks.sliding_window_view(walk.observed, 4, axis=1).reshape(-1, 4)
    expected = np.linalg.cond(lagged[:, :3]) ** 2
    assert float(last.split()[-1]) == pytest.approx(expected, rel=0.01)


def test_table_of_many_kernels_is_cut(files, capsys):
    assert main(["kernel", "fit", "poses.npz", "-o", "k.npz", "--sharing", "joint"]) == 0
    out = capsys.readouterr().out
    assert "joint 5" in out and "joint 6" not in out
    assert "and 13 kernels more" in out


def test_ragged_sequences_confidences_and_targets(files, walk):
    X = np.concatenate([walk.observed[0], walk.observed[1, :50]])
    parts = [X[:80], X[80:]]
    y = np.concatenate([walk.velocity[0], walk.velocity[1, :50]])
    confidence = np.ones(X.shape[:2])
    confidence[20:25, 3] = 0
    np.savez("ragged.npz", X=X, y=y, confidence=confidence, lengths=[80, 50])
    trust = [confidence[:80], confidence[80:]]
    for edges in ("refit", "valid"):
        argv = ["ragged.npz", "-o", "kernel.npz", "--edges", edges]
        assert main(["kernel", "fit", *argv]) == 0
        assert main(["kernel", "apply", "kernel.npz", "ragged.npz", "-o", "out.npz"]) == 0
        kernel = MotionKernel(edges=edges).fit(parts, [y[:80], y[80:]], confidence=trust)
        expected = kernel.transform(parts, trust)
        result = saved("out.npz")
        np.testing.assert_array_equal(result["output"], np.concatenate(expected))
        np.testing.assert_array_equal(result["lengths"], [len(part) for part in expected])


def test_frame_rate_in_an_array_of_one(files, walk):
    np.savez("one.npz", X=walk.observed, fps=[60.0])
    assert main(["kernel", "fit", "one.npz", "-o", "kernel.npz"]) == 0
    assert kernel_from_arrays(saved("kernel.npz")).fps == 60


@pytest.mark.parametrize("name", ["X", "positions", "anything"])
def test_name_of_the_array(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    np.savez("poses.npz", **{name: np.random.default_rng(0).normal(size=(30, 2, 2)), "fps": 30.0})
    assert main(["kernel", "fit", "poses.npz", "-o", "kernel.npz"]) == 0
    assert saved("kernel.npz")["pose_shape"].tolist() == [2, 2]


def test_parameters_of_every_kind_come_back():
    X = np.random.default_rng(0).normal(size=(30, 2, 2))
    kernel = MotionKernel(
        3,
        weight_sum=(1.0, np.float64(2.0)),
        moments={1: 0.5},
        prior=np.array([0.0, 0.0, 1.0]),
        alpha=np.float32(0.5),
        axes=("frame", "joint", "coord"),
        fit_intercept=True,
        edges="nearest",
        random_state=np.random.RandomState(0),
    ).fit(X)
    same = kernel_from_arrays(kernel_to_arrays(kernel))
    np.testing.assert_array_equal(same.transform(X), kernel.transform(X))
    assert same.score(X) == kernel.score(X)
    assert (same.weight_sum, same.moments, same.axes) == ((1.0, 2.0), {1: 0.5}, kernel.axes)


def test_the_file_holds_no_code_and_not_the_data(files, walk):
    assert main(["kernel", "fit", "poses.npz", "-o", "kernel.npz"]) == 0
    arrays = saved("kernel.npz")
    assert all(array.dtype.kind in "Ubif" for array in arrays.values())
    assert sum(array.nbytes for array in arrays.values()) < walk.observed.nbytes / 10


def test_choices_are_those_of_the_estimator():
    choices = {
        flag: how["choices"] for flag, how in command._PARAMETERS.items() if "choices" in how
    }
    assert choices["--target"] == TARGETS
    assert choices["--sharing"] == SHARING
    assert set(choices["--edges"]) == set(EDGES)
    params = MotionKernel().get_params()
    for flag, how in command._PARAMETERS.items():
        assert how.get("dest", flag[2:].replace("-", "_")) in params


def test_bad_input_is_one_line_and_leaves_no_file(files, capsys):
    np.savez("two.npz", a=np.zeros((9, 1, 1)), b=np.zeros((9, 1, 1)))
    np.savez("none.npz", fps=30.0)
    np.savez("slow.npz", X=np.zeros((9, 19, 3)), fps=30.0)
    np.savez("lengths.npz", X=np.zeros((9, 19, 3)), lengths=[3, 3])
    np.savez("halves.npz", X=np.zeros((9, 19, 3)), lengths=[4.5, 4.5])
    np.savez("negative.npz", X=np.zeros((9, 19, 3)), lengths=[-3, 12])
    np.savez("rates.npz", X=np.zeros((9, 19, 3)), fps=[60.0, 30.0])
    np.savez("rate.npz", X=np.zeros((9, 19, 3)), fps="60")
    np.savez("short.npz", X=np.ones((3, 19, 3)))
    np.savez("target.npz", X=np.ones((9, 2, 2)), y=np.ones((9, 2, 2)))
    np.savez("objects.npz", X=np.array([{}, None]))
    np.save("one.npy", np.zeros((9, 1, 1)))
    (files / "text.npz").write_text("hello")
    (files / "empty.npz").write_text("")
    (files / "cut.npz").write_bytes((files / "poses.npz").read_bytes()[:500])
    assert main(["kernel", "fit", "poses.npz", "-o", "k.npz"]) == 0
    arrays = saved("k.npz")
    np.savez("bent.npz", **{**arrays, "coef": np.ones(3)})
    np.savez("newer.npz", **{**arrays, "parameters": np.array('{"magic": 1}')})
    capsys.readouterr()
    before = sorted(files.iterdir())
    for argv, message in [
        (["fit", "no.npz", "-o", "c.npz"], "no.npz does not exist"),
        (["fit", "two.npz", "-o", "c.npz"], r"two.npz must hold .*, got \['a', 'b'\]"),
        (["fit", "none.npz", "-o", "c.npz"], "or a single one, got none"),
        (["fit", "lengths.npz", "-o", "c.npz"], r"must add up .*, got 6 .* \(9, 19, 3\)"),
        (["fit", "halves.npz", "-o", "c.npz"], r"whole numbers .* got float64 .*\[4.5, 4.5\]"),
        (["fit", "negative.npz", "-o", "c.npz"], r"at least 1 for each .*\[-3, 12\]"),
        (["fit", "rates.npz", "-o", "c.npz"], r"fps in rates.npz must be one number, .* \(2,\)"),
        (["fit", "rate.npz", "-o", "c.npz"], "fps in rate.npz must be one number, got <U2"),
        (["fit", "short.npz", "-o", "c.npz"], "the longest sequence has 3"),
        (["fit", "target.npz", "-o", "c.npz", "--target", "next"], "leave one of them out"),
        (["fit", "objects.npz", "-o", "c.npz"], "cannot be read as an .npz file of numbers"),
        (["fit", "one.npy", "-o", "c.npz"], "cannot be read as an .npz file of numbers"),
        (["fit", "text.npz", "-o", "c.npz"], "cannot be read as an .npz file of numbers"),
        (["fit", "empty.npz", "-o", "c.npz"], "cannot be read as an .npz file of numbers"),
        (["fit", "cut.npz", "-o", "c.npz"], "cannot be read as an .npz file of numbers"),
        (["fit", "poses.npz", "-o", "c.txt"], "give it that suffix"),
        (["fit", "poses.npz", "-o", "no/c.npz"], "folder .* does not exist"),
        (["fit", "poses.npz", "-o", "c.npz", "--n-taps", "0"], "'n_taps' parameter"),
        (["fit", "poses.npz", "-o", "c.npz", "--prior", "magic"], "'prior' parameter"),
        (["apply", "poses.npz", "poses.npz", "-o", "c.npz"], "poses.npz: .* no motion kernel"),
        (["apply", "bent.npz", "poses.npz", "-o", "c.npz"], r"contradict .* coef \(3,\)"),
        (["apply", "newer.npz", "poses.npz", "-o", "c.npz"], r"not known here: \['magic'\]"),
        (["apply", "k.npz", "slow.npz", "-o", "c.npz"], "has 30 frames per second"),
        (["apply", "k.npz", "two.npz", "-o", "c.npz"], "two.npz must hold"),
        (["apply", "k.npz", "target.npz", "-o", "c.npz"], "19 joints"),
        (["apply", "k.npz", "poses.npz", "-o", "c"], "give it that suffix"),
    ]:
        assert main(["kernel", *argv]) == 2, argv
        assert_one_error(capsys.readouterr().err, message)
        assert sorted(files.iterdir()) == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: COMMAND"),
        (["fit", "poses.npz"], "required: -o"),
        (["fit", "poses.npz", "-o", "k.npz", "--noise", "loud"], "a number or 'auto', got 'loud'"),
        (["fit", "poses.npz", "-o", "k.npz", "--sharing", "none"], "invalid choice"),
        (["apply", "k.npz", "-o", "out.npz"], "required: POSES"),
    ],
)
def test_bad_usage(argv, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["kernel", *argv])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
