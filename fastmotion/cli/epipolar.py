"""``fastmotion epipolar``: the fundamental matrix or a homography from matches in a file."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from fastmotion.cli.messages import print_warnings

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["add_parser", "run"]

_COLUMNS = ("x1", "y1", "x2", "y2")
_QUALITY = "quality"
_SUFFIXES = (".npz", ".csv")
_FIGURE_SIZE = 11.0, 5.0  # inches


def _number_or_auto(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number or 'auto', got {text!r}") from None


# Options that are parameters of the estimators; those that are not given are None.
_PARAMETERS: dict[str, dict[str, Any]] = {
    "--method": {
        "metavar": "NAME",
        "help": "ransac, lmeds, eight_point or seven_point; dlt for H (ransac)",
    },
    "--minimal": {
        "choices": ("seven_point", "eight_point"),
        "help": "solver of random samples (seven_point)",
    },
    "--threshold": {
        "dest": "residual_threshold",
        "type": _number_or_auto,
        "metavar": "PIXELS",
        "help": "Sampson distance up to which a match is an inlier, or 'auto' (1)",
    },
    "--confidence": {"type": float, "metavar": "P", "help": "of having found the best (0.9999)"},
    "--max-trials": {"type": int, "metavar": "N", "help": "random samples at most (100000)"},
    "--degeneracy": {
        "choices": ("handle", "flag", "ignore"),
        "help": "what to do where one plane holds most matches (handle)",
    },
    "--nan-policy": {"choices": ("raise", "omit"), "help": "of matches that are NaN (raise)"},
    "--seed": {"dest": "random_state", "type": int, "metavar": "N", "help": "of the samples"},
    "--n-jobs": {"type": int, "metavar": "N", "help": "number of threads (all)"},
}


_OF_FUNDAMENTAL = ("--minimal", "--degeneracy")


class _Matches(NamedTuple):
    """What a file holds."""

    X: NDArray
    quality: NDArray | None


def add_parser(commands: Any) -> None:
    """Declare the command and its arguments."""
    parser = commands.add_parser(
        "epipolar",
        help="find the fundamental matrix, or a homography, of matches between two images",
        description=(
            "Find the fundamental matrix F, [x2 y2 1] F [x1 y1 1]' = 0, of matches of which some "
            "may be wrong, or a homography. Matches come as text, separated by commas or spaces, "
            "with the columns x1 y1 x2 y2 in pixels and optionally quality, the larger the "
            "better, with or without a header; as .npy; or as .npz with the array matches and "
            "optionally quality."
        ),
    )
    parser.add_argument("matches", metavar="MATCHES", help="the file, or - for the standard input")
    parser.add_argument(
        "--homography", action="store_true", help="find H, [x2 y2 1]' ~ H [x1 y1 1]', instead"
    )
    parser.add_argument(
        "--quality",
        metavar="COLUMN",
        help="column of the qualities, by its name or its number from 1, or 'none' "
        "(the one named quality, or without a header the fifth of five)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON rather than a table")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="matrix, covariance, inliers and distances as .npz, or the matches with their "
        "distance and whether they are inliers as .csv",
    )
    parser.add_argument(
        "--plot", metavar="PICTURE", help="draw matches and epipolar lines to this file"
    )
    parser.add_argument(
        "--images", nargs=2, metavar=("IMAGE1", "IMAGE2"), help="pictures behind those of --plot"
    )
    options = parser.add_argument_group("parameters of the estimator, with its defaults")
    names = [options.add_argument(flag, **how).dest for flag, how in _PARAMETERS.items()]
    parser.set_defaults(run=run, parameter_names=names, usage_error=parser.error)


def run(args: argparse.Namespace) -> None:
    """Read, fit, write and print."""
    _check_arguments(args)
    matches = _read(args.matches, args.quality)
    images = _read_images(args.images)
    estimator = _fit(_make_estimator(args), matches)
    if args.output:
        _write(args.output, estimator, matches.X)
    if args.plot:
        _draw(args.plot, estimator, matches.X, images)
    summary = _summarise(estimator, len(matches.X))
    if args.json:
        import json

        print(json.dumps(summary, indent=2))
    else:
        _print_table(summary)


def _check_arguments(args: argparse.Namespace) -> None:
    """Complain before the work rather than after it."""
    if args.homography and args.plot:
        args.usage_error("--plot draws epipolar lines, which a homography does not have")
    for flag in _OF_FUNDAMENTAL:
        if args.homography and getattr(args, flag.removeprefix("--")) is not None:
            args.usage_error(f"{flag} is for fundamental matrices, not for --homography")
    if args.images and not args.plot:
        args.usage_error("--images is for the picture of --plot FILE")
    if args.output and not args.output.endswith(_SUFFIXES):
        args.usage_error(f"-o writes .npz or .csv, got {args.output}; give it such a suffix")
    if args.plot:
        _import_figure()


def _make_estimator(args: argparse.Namespace) -> Any:
    from fastmotion.epipolar import FundamentalMatrix, Homography

    estimator = Homography() if args.homography else FundamentalMatrix()
    given = {name: getattr(args, name) for name in args.parameter_names}
    return estimator.set_params(
        **{name: value for name, value in given.items() if value is not None}
    )


def _fit(estimator: Any, matches: _Matches) -> Any:
    with print_warnings():
        return estimator.fit(matches.X, quality=matches.quality)


def _read(path: str, quality: str | None) -> _Matches:
    if path.endswith(".npz"):
        return _read_archive(path, quality)
    if path.endswith(".npy"):
        names, table = None, _load_array(path)
    else:
        names, table = _read_text(path)
    return _split_columns(path, names, table, quality)


def _load_array(path: str) -> Any:
    """Return what a file of NumPy's holds: an array, or several by their names."""
    import zipfile

    import numpy as np

    from fastmotion.io.files import existing_file

    try:
        # Opened here: NumPy leaves the file of a damaged archive open.
        with open(existing_file(path), "rb") as stream:
            file = np.load(stream, allow_pickle=False)
            return {name: file[name] for name in file} if path.endswith(".npz") else file
    except (EOFError, TypeError, ValueError, IndexError, zipfile.BadZipFile) as error:
        # Text, objects and damaged files fail in ways of their own.
        raise ValueError(f"{path} cannot be read as numbers in NumPy's format: {error}") from error


def _read_archive(path: str, quality: str | None) -> _Matches:
    arrays = _load_array(path)
    name = _QUALITY if quality is None else quality
    if quality not in (None, "none") and quality not in arrays:
        raise ValueError(f"{path} has no array {quality!r}, got {list(arrays)}")
    others = [other for other in arrays if other != name]
    chosen = [other for other in ("matches", "X") if other in others] or others
    if len(chosen) != 1:
        raise ValueError(
            f"{path} must hold the array matches or X, or a single one beside the qualities, got "
            f"{list(arrays)}"
        )
    return _Matches(arrays[chosen[0]], arrays.get(name))


def _read_text(path: str) -> tuple[list[str] | None, NDArray]:
    """Return the names of the columns, if there are any, and the table."""
    import numpy as np

    from fastmotion.io.files import existing_file

    text = sys.stdin.read() if path == "-" else existing_file(path).read_text("utf-8-sig")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise ValueError(f"{_name(path)} holds no matches")
    delimiter = next((mark for mark in ",;\t" if mark in lines[0]), None)
    fields = [field.strip().strip('"').lower() for field in lines[0].split(delimiter)]
    names = None if all(map(_is_number, fields)) else fields
    lines = lines[names is not None :]
    if not lines:
        raise ValueError(f"{_name(path)} holds no matches but a header: {', '.join(fields)}")
    try:
        return names, np.loadtxt(lines, delimiter=delimiter, ndmin=2)
    except ValueError as error:
        raise ValueError(
            f"{_name(path)} cannot be read as a table of numbers (rows count from 0, without the "
            f"header): {error}"
        ) from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _name(path: str) -> str:
    return "the standard input" if path == "-" else path


def _split_columns(
    path: str, names: list[str] | None, table: NDArray, quality: str | None
) -> _Matches:
    """Return the columns of the points and that of the qualities."""
    if table.ndim != 2 or table.shape[1] < 4:
        raise ValueError(
            f"{_name(path)} must hold the columns {' '.join(_COLUMNS)}, got an array of shape "
            f"{table.shape}"
        )
    if names is None:
        names = [*_COLUMNS, _QUALITY] if table.shape[1] == 5 else list(_COLUMNS)
    missing = [name for name in _COLUMNS if name not in names]
    if missing or len(names) > table.shape[1]:
        raise ValueError(
            f"the header of {_name(path)} must name the columns {' '.join(_COLUMNS)}, got "
            f"{' '.join(names)} above {table.shape[1]} columns"
        )
    X = table[:, [names.index(name) for name in _COLUMNS]]
    if quality == "none" or (quality is None and _QUALITY not in names):
        return _Matches(X, None)
    return _Matches(X, table[:, _find_column(path, names, table.shape[1], quality or _QUALITY)])


def _find_column(path: str, names: list[str], n_columns: int, wanted: str) -> int:
    if wanted.lower() in names:
        return names.index(wanted.lower())
    if wanted.isdecimal() and 1 <= int(wanted) <= n_columns:
        return int(wanted) - 1
    raise ValueError(
        f"{_name(path)} has no column {wanted!r}: give a number from 1 to {n_columns}, or one of "
        f"{' '.join(names)}"
    )


def _read_images(paths: list[str] | None) -> list[NDArray] | None:
    if paths is None:
        return None
    from fastmotion.io import read_image

    return [read_image(path) for path in paths]


def _matrix_name(estimator: Any) -> str:
    return "F" if hasattr(estimator, "F_") else "H"


def _summarise(estimator: Any, n_matches: int) -> dict[str, Any]:
    """Return what is printed, as JSON can hold it."""
    import math

    name = _matrix_name(estimator)
    noise = float(estimator.noise_scale_)
    summary = {
        name: getattr(estimator, f"{name}_").tolist(),
        "n_matches": n_matches,
        "n_inliers": int(estimator.n_inliers_),
        "score": float(estimator.score_),
        "noise_scale": noise if math.isfinite(noise) else None,
        "residual_threshold": float(estimator.residual_threshold_),
        "n_trials": int(estimator.n_trials_),
        "degeneracy": estimator.degeneracy_,
    }
    if name == "F":
        summary["epipoles"] = estimator.epipoles_.tolist()
    return summary


def _print_table(summary: dict[str, Any]) -> None:
    name = "F" if "F" in summary else "H"
    for i, row in enumerate(summary[name]):
        label = f"{name} =" if i == 0 else ""
        print(f"{label:12}" + "".join(f"{value:15.6e}" for value in row))
    n_inliers, n_matches = summary["n_inliers"], summary["n_matches"]
    noise = summary["noise_scale"]
    rows = {
        "inliers": f"{n_inliers} of {n_matches} ({n_inliers / n_matches:.1%})",
        "score": f"{summary['score']:.4f}",
        "noise": "unknown" if noise is None else f"{noise:.3g} px",
        "threshold": f"{summary['residual_threshold']:.3g} px",
        "trials": str(summary["n_trials"]),
        "degeneracy": summary["degeneracy"],
    }
    for i, epipole in enumerate(summary.get("epipoles", ()), start=1):
        rows[f"epipole {i}"] = _describe_epipole(*epipole)
    for label, value in rows.items():
        print(f"{label:12}{value}")


def _describe_epipole(x: float, y: float, w: float) -> str:
    import math

    # Beyond a billion pixels, lines are parallel for all that an image shows.
    if abs(w) * 1e9 <= math.hypot(x, y):
        angle = math.degrees(math.atan2(y, x)) % 180
        return f"at infinity, {angle:.4g}° from the x axis"
    return f"({x / w:.6g}, {y / w:.6g})"


def _write(path: str, estimator: Any, X: NDArray) -> None:
    import numpy as np

    from fastmotion.io.files import replacing

    distances = estimator.score_samples(X)
    with replacing(path) as part:
        if path.endswith(".npz"):
            name = _matrix_name(estimator)
            arrays = {
                name: getattr(estimator, f"{name}_"),
                "covariance": estimator.covariance_,
                "inlier_mask": estimator.inlier_mask_,
                "distance": distances,
            }
            np.savez(part, **arrays)
        else:
            table = np.column_stack([X, distances, estimator.inlier_mask_])
            header = ",".join([*_COLUMNS, "distance", "inlier"])
            formats = ["%.17g"] * 4 + ["%.6g", "%d"]
            np.savetxt(part, table, formats, delimiter=",", header=header, comments="")


def _import_figure() -> Any:
    from fastmotion.core.validation import import_optional

    return import_optional("matplotlib.figure", extra="plot", purpose="drawing epipolar lines")


def _draw(path: str, estimator: Any, X: NDArray, images: list[NDArray] | None) -> None:
    from fastmotion.display import EpipolarDisplay
    from fastmotion.io.files import replacing

    figure = _import_figure().Figure(figsize=_FIGURE_SIZE, layout="constrained")
    EpipolarDisplay.from_estimator(estimator, X, images=images, ax=figure.subplots(1, 2))
    with replacing(path) as part:
        figure.savefig(part, dpi=110)
