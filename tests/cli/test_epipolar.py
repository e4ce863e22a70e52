import io
import json
import re
import sys

import numpy as np
import pytest

from fastmotion.cli import epipolar as command
from fastmotion.cli import main
from fastmotion.datasets import make_two_view
from fastmotion.epipolar import FundamentalMatrix, Homography

FORMATS = ["csv", "headed.csv", "txt", "tsv", "semicolon.csv", "npy", "npz"]


@pytest.fixture(scope="module")
def view():
    return make_two_view(n_matches=120, inlier_ratio=0.75, noise=0.3, random_state=0)


@pytest.fixture(scope="module")
def planar():
    return make_two_view("planar", n_matches=120, inlier_ratio=0.75, noise=0.3, random_state=0)


@pytest.fixture
def folder(tmp_path, monkeypatch, view):
    monkeypatch.chdir(tmp_path)
    np.save("matches.npy", view.matches)
    return tmp_path


def write(path, view, quality=True):
    """Write matches as the suffix of a path says."""
    table = np.column_stack([view.matches, view.quality]) if quality else view.matches
    delimiter = {"txt": " ", "tsv": "\t", "semicolon.csv": "; "}.get(path.partition(".")[2], ",")
    if path.endswith("npy"):
        np.save(path, table)
    elif path.endswith("npz"):
        arrays = {"quality": view.quality} if quality else {}
        np.savez(path, matches=view.matches, **arrays)
    elif "headed" in path:
        header = ['"X1"', "y1", "x2", "y2", "quality", "index"][: 6 if quality else 4]
        lines = [
            ",".join([*map(repr, row), str(i)][: len(header)])
            for i, row in enumerate(table.tolist())
        ]
        text = "\n".join([",".join(header), *lines])
        with open(path, "w", encoding="utf-8-sig") as file:
            file.write(text + "\n\n")
    else:
        np.savetxt(path, table, fmt="%.17g", delimiter=delimiter, header="a comment")


def run_json(capsys, *argv):
    assert main(["epipolar", *argv, "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return json.loads(printed.out)


def assert_one_error(err, message):
    assert re.fullmatch(r"fastmotion: error: .*\n", err), err
    assert re.search(message, err), err


@pytest.fixture
def given(monkeypatch):
    """Note what the estimator is given, and fit it all the same."""
    noted = {}
    original = command._fit

    def fit(estimator, matches):
        noted.update(params=estimator.get_params(), X=matches.X, quality=matches.quality)
        return original(estimator, matches)

    monkeypatch.setattr(command, "_fit", fit)
    return noted


@pytest.mark.parametrize("quality", [True, False])
@pytest.mark.parametrize("suffix", FORMATS)
def test_formats(folder, view, given, capsys, suffix, quality):
    write(f"file.{suffix}", view, quality)
    result = run_json(capsys, f"file.{suffix}", "--seed", "3")
    np.testing.assert_array_equal(given["X"], view.matches)
    if quality:
        np.testing.assert_array_equal(given["quality"], view.quality)
    else:
        assert given["quality"] is None
    expected = FundamentalMatrix(random_state=3).fit(view.matches, quality=given["quality"])
    assert result["F"] == expected.F_.tolist()


def test_standard_input(folder, view, given, monkeypatch, capsys):
    text = io.StringIO()
    np.savetxt(text, view.matches, fmt="%.17g", header="x1 y1 x2 y2", comments="")
    monkeypatch.setattr(sys, "stdin", io.StringIO(text.getvalue()))
    run_json(capsys, "-")
    np.testing.assert_array_equal(given["X"], view.matches)


def test_columns_are_found_by_their_names(folder, view, given, capsys):
    lines = ["y2,x2,score,y1,x1"] + [
        f"{y2!r},{x2!r},{q!r},{y1!r},{x1!r}"
        for (x1, y1, x2, y2), q in zip(view.matches.tolist(), view.quality.tolist())
    ]
    (folder / "shuffled.csv").write_text("\n".join(lines))
    run_json(capsys, "shuffled.csv")
    np.testing.assert_array_equal(given["X"], view.matches)
    assert given["quality"] is None
    for column in ("score", "3"):
        run_json(capsys, "shuffled.csv", "--quality", column)
        np.testing.assert_array_equal(given["quality"], view.quality)


def test_which_column_is_the_quality(folder, view, given, capsys):
    np.save("six.npy", np.column_stack([view.matches, view.quality, -view.quality]))
    np.save("five.npy", np.column_stack([view.matches, view.quality]))
    np.savez("named.npz", points=view.matches, score=view.quality)
    for argv, expected in [
        (["six.npy"], None),
        (["six.npy", "--quality", "6"], -view.quality),
        (["five.npy", "--quality", "none"], None),
        (["named.npz", "--quality", "score"], view.quality),
    ]:
        run_json(capsys, *argv)
        np.testing.assert_array_equal(given["X"], view.matches)
        np.testing.assert_array_equal(given["quality"], expected)


def test_options_are_parameters_of_the_estimator(folder, given, capsys):
    options = "--method lmeds --minimal eight_point --threshold 0.7 --confidence 0.9 --max-trials 9"
    options += " --degeneracy flag --nan-policy omit --seed 5 --n-jobs 1"
    main(["epipolar", "matches.npy", *options.split()])
    capsys.readouterr()
    expected = FundamentalMatrix(
        "lmeds",
        minimal="eight_point",
        residual_threshold=0.7,
        confidence=0.9,
        max_trials=9,
        degeneracy="flag",
        nan_policy="omit",
        random_state=5,
        n_jobs=1,
    )
    assert given["params"] == expected.get_params()
    run_json(capsys, "matches.npy", "--threshold", "auto")
    assert given["params"] == FundamentalMatrix(residual_threshold="auto").get_params()
    run_json(capsys, "matches.npy")
    assert given["params"] == FundamentalMatrix().get_params()


def test_json(folder, view, capsys):
    result = run_json(capsys, "matches.npy", "--seed", "0")
    estimator = FundamentalMatrix(random_state=0).fit(view.matches)
    assert result == {
        "F": estimator.F_.tolist(),
        "n_matches": 120,
        "n_inliers": estimator.n_inliers_,
        "score": estimator.score_,
        "noise_scale": estimator.noise_scale_,
        "residual_threshold": 1.0,
        "n_trials": estimator.n_trials_,
        "degeneracy": "none",
        "epipoles": estimator.epipoles_.tolist(),
    }


def test_table(folder, view, capsys):
    assert main(["epipolar", "matches.npy", "--seed", "0"]) == 0
    estimator = FundamentalMatrix(random_state=0).fit(view.matches)
    lines = capsys.readouterr().out.splitlines()
    shown = [re.sub("F =", "", line).split() for line in lines[:3]]
    assert shown == [[f"{value:.6e}" for value in row] for row in estimator.F_]
    table = {line[:12].strip(): line[12:] for line in lines[3:]}
    n_inliers = estimator.n_inliers_
    assert table["inliers"] == f"{n_inliers} of 120 ({n_inliers / 120:.1%})"
    assert table["noise"] == f"{estimator.noise_scale_:.3g} px"
    assert table["degeneracy"] == "none"
    x, y, w = estimator.epipoles_[1]
    assert table["epipole 2"] == f"({x / w:.6g}, {y / w:.6g})"


@pytest.mark.parametrize(
    ("epipole", "text"),
    [
        ((2.0, -4.0, 0.5), "(4, -8)"),
        ((1.0, 0.0, 0.0), "at infinity, 0° from the x axis"),
        ((1.0, -1.0, 1e-12), "at infinity, 135° from the x axis"),
    ],
)
def test_epipoles_at_infinity(epipole, text):
    assert command._describe_epipole(*epipole) == text


def test_homography(folder, planar, given, capsys):
    np.save("planar.npy", planar.matches)
    result = run_json(capsys, "planar.npy", "--homography", "--seed", "0", "-o", "out.npz")
    expected = Homography(random_state=0).fit(planar.matches)
    assert result["H"] == expected.H_.tolist()
    assert not {"F", "epipoles"} & set(result)
    with np.load("out.npz") as saved:
        np.testing.assert_array_equal(saved["H"], expected.H_)
    assert main(["epipolar", "planar.npy", "--homography"]) == 0
    assert capsys.readouterr().out.startswith("H =")


def test_degenerate_matches_are_a_warning_in_one_line(folder, planar, capsys):
    np.save("planar.npy", planar.matches[planar.inlier_mask])
    assert main(["epipolar", "planar.npy", "--json", "--seed", "0"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["degeneracy"] == "plane"
    assert re.fullmatch("fastmotion: warning: .*\n", printed.err)


def test_output(folder, view, capsys):
    estimator = FundamentalMatrix(random_state=0).fit(view.matches)
    assert main(["epipolar", "matches.npy", "--seed", "0", "-o", "out.npz"]) == 0
    with np.load("out.npz") as saved:
        assert set(saved) == {"F", "covariance", "inlier_mask", "distance"}
        np.testing.assert_array_equal(saved["F"], estimator.F_)
        np.testing.assert_array_equal(saved["covariance"], estimator.covariance_)
        np.testing.assert_array_equal(saved["inlier_mask"], estimator.inlier_mask_)
        np.testing.assert_array_equal(saved["distance"], estimator.score_samples(view.matches))
    assert main(["epipolar", "matches.npy", "--seed", "0", "-o", "out.csv"]) == 0
    header, *rows = (folder / "out.csv").read_text().splitlines()
    assert header == "x1,y1,x2,y2,distance,inlier"
    table = np.array([row.split(",") for row in rows], float)
    np.testing.assert_array_equal(table[:, :4], view.matches)
    np.testing.assert_allclose(table[:, 4], estimator.score_samples(view.matches), rtol=1e-5)
    np.testing.assert_array_equal(table[:, 5], estimator.inlier_mask_)


def test_missing_values(folder, view, capsys):
    gappy = view.matches.copy()
    gappy[::10, 2] = np.nan
    np.savetxt("gappy.csv", gappy, delimiter=",")
    assert main(["epipolar", "gappy.csv"]) == 2
    assert_one_error(capsys.readouterr().err, "must be finite")
    argv = ["gappy.csv", "--nan-policy", "omit", "-o", "out.npz", "--plot", "out.png"]
    run_json(capsys, *argv)
    with np.load("out.npz") as saved:
        assert not saved["inlier_mask"][::10].any()
        assert len(saved["inlier_mask"]) == len(view.matches)


def test_plot(folder, view, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    imageio = pytest.importorskip("imageio.v3", reason="imageio is not installed")
    imageio.imwrite("a.png", np.zeros((480, 640), np.uint8))
    imageio.imwrite("b.png", np.full((480, 640, 3), 255, np.uint8))
    run_json(capsys, "matches.npy", "--plot", "plain.png")
    run_json(capsys, "matches.npy", "--plot", "out.png", "--images", "a.png", "b.png")
    assert imageio.imread("plain.png").std() > 0
    pixels = imageio.imread("out.png")[..., :3]
    height, width = pixels.shape[:2]
    left, right = np.split(pixels[height // 3 : 2 * height // 3], [width // 2], axis=1)
    assert left.mean() < 100 < 200 < right.mean()


BAD_FILES = {
    "empty.csv": ("", "empty.csv holds no matches"),
    "header.csv": ("x1,y1,x2,y2\n", "holds no matches but a header: x1, y1, x2, y2"),
    "names.csv": ("a,b,c,d\n1,2,3,4\n", "must name the columns x1 y1 x2 y2, got a b c d"),
    "three.csv": ("1,2,3\n", r"must hold the columns x1 y1 x2 y2, got .* shape \(1, 3\)"),
    "word.csv": ("1,2,3,4\n1,2,x,4\n", "cannot be read as a table .*'x'"),
    "ragged.csv": ("1,2,3,4\n1,2,3\n", "cannot be read as a table"),
    "few.csv": ("1,2,3,4\n", "at least"),
    "text.npy": ("hello", "cannot be read as numbers"),
    "text.npz": ("hello", "cannot be read as numbers"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(folder, capsys, name):
    text, message = BAD_FILES[name]
    (folder / name).write_text(text)
    assert main(["epipolar", name, "-o", "out.npz"]) == 2
    assert_one_error(capsys.readouterr().err, message)
    assert not (folder / "out.npz").exists()


def test_bad_archives_and_arrays(folder, view, capsys):
    np.savez("two.npz", a=view.matches, b=view.matches)
    np.save("cube.npy", np.zeros((3, 4, 5)))
    np.save("objects.npy", np.array([{}, None]))
    for argv, message in [
        (["no.csv"], "no.csv does not exist"),
        (["two.npz"], r"array matches or X, .* got \['a', 'b'\]"),
        (["two.npz", "--quality", "c"], r"no array 'c', got \['a', 'b'\]"),
        (["cube.npy"], r"got an array of shape \(3, 4, 5\)"),
        (["objects.npy"], "objects.npy cannot be read as numbers"),
        (["matches.npy", "--quality", "5"], "no column '5': give a number from 1 to 4"),
        (["matches.npy", "--quality", "ratio"], "no column 'ratio'"),
        (["matches.npy", "--method", "magic"], "method"),
        (["matches.npy", "--threshold", "-1"], "residual_threshold"),
        (["matches.npy", "-o", "no/out.npz"], "folder .* does not exist"),
    ]:
        assert main(["epipolar", *argv]) == 2, argv
        assert_one_error(capsys.readouterr().err, message)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: MATCHES"),
        (["a.csv", "-o", "out.txt"], "give it such a suffix"),
        (["a.csv", "--images", "a.png", "b.png"], "--images is for the picture of --plot"),
        (["a.csv", "--plot", "a.png", "--homography"], "which a homography does not have"),
        (["a.csv", "--homography", "--minimal", "eight_point"], "--minimal is for fundamental"),
        (["a.csv", "--homography", "--degeneracy", "flag"], "--degeneracy is for fundamental"),
        (["a.csv", "--threshold", "wide"], "must be a number or 'auto', got 'wide'"),
        (["a.csv", "--minimal", "five_point"], "invalid choice"),
    ],
)
def test_bad_usage(argv, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["epipolar", *argv])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
