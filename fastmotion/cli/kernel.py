"""``fastmotion kernel``: fit a motion kernel to poses in a file, and apply it to others."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["add_parser", "run_apply", "run_fit"]


_MOST_COLUMNS = 6  # kernels of the table


def _number_or_auto(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number or 'auto', got {text!r}") from None


# Options that are parameters of MotionKernel; those that are not given are None.
_PARAMETERS: dict[str, dict[str, Any]] = {
    "--n-taps": {"type": int, "metavar": "N", "help": "frames that it reads (5)"},
    "--window": {"type": float, "metavar": "SECONDS", "help": "what they span, instead of N"},
    "--centred": {
        "dest": "causal",
        "action": "store_const",
        "const": False,
        "help": "read as many later frames as earlier ones",
    },
    "--dilation": {"type": int, "metavar": "N", "help": "frames from tap to tap (1)"},
    "--target": {
        "choices": ("next", "position", "velocity", "acceleration"),
        "help": "what it shall give (next)",
    },
    "--horizon": {
        "type": int,
        "metavar": "N",
        "help": "frames ahead that 'next' is (1); of no effect with y in the file",
    },
    "--sharing": {
        "choices": ("all", "coordinate", "joint", "channel"),
        "help": "one kernel for all, or one for each (all)",
    },
    "--shrinkage": {"type": float, "metavar": "SHARE", "help": "towards the shared kernel (0)"},
    "--alpha": {"type": float, "help": "strength of the ridge (0)"},
    "--prior": {"metavar": "NAME", "help": "kernel that the ridge pulls to (zero)"},
    "--smoothness": {"type": float, "help": "penalty on differences of weights (0)"},
    "--weight-sum": {"type": float, "metavar": "SUM", "help": "exact sum of the weights"},
    "--loss": {"choices": ("squared", "huber"), "help": "of the residuals (squared)"},
    "--residual": {
        "action": "store_const",
        "const": True,
        "help": "fit what is added to the present frame",
    },
    "--noise": {"type": _number_or_auto, "metavar": "SIGMA", "help": "of positions, or 'auto' (0)"},
    "--fps": {"type": float, "help": "frames per second (those of the file)"},
    "--edges": {
        "choices": ("refit", "nearest", "reflect", "valid"),
        "help": "what to do near the first and last frame (refit)",
    },
    "--min-valid": {"type": float, "metavar": "SHARE", "help": "of taps not missing (0.5)"},
    "--n-jobs": {"type": int, "metavar": "N", "help": "number of threads (all)"},
}

# Arrays of a file that are not the poses.
_BESIDE = ("lengths", "y", "fps", "confidence")


class _Poses(NamedTuple):
    """What a file holds; sequences are a list where it has their lengths."""

    X: Any
    y: Any
    confidence: Any
    lengths: NDArray | None
    fps: float | None


def add_parser(commands: Any) -> None:
    """Declare the commands and their arguments."""
    parser = commands.add_parser(
        "kernel",
        help="fit a motion kernel to trajectories of joints, or apply one",
        description=(
            "Fit the weights of a temporal convolution to trajectories of joints, or apply them. "
            "Poses come as an .npz file with the array X or positions, of shape (sequences, "
            "frames, joints, coordinates) or (frames, joints, coordinates), and optionally "
            "lengths (frames of each sequence, where X has three axes), fps, confidence, and y, "
            "what the kernel shall give in place of --target."
        ),
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_fit(actions)
    _add_apply(actions)


def _add_fit(actions: Any) -> None:
    parser = actions.add_parser(
        "fit",
        help="fit a kernel and write it",
        description="Fit a motion kernel, write it to a file, and print its weights.",
    )
    parser.add_argument("poses", metavar="POSES", help="trajectories, an .npz file")
    parser.add_argument(
        "-o", "--output", metavar="KERNEL", required=True, help="the kernel, an .npz file"
    )
    options = parser.add_argument_group("parameters of MotionKernel, with its defaults")
    names = [options.add_argument(flag, **how).dest for flag, how in _PARAMETERS.items()]
    parser.set_defaults(run=run_fit, parameter_names=names)


def _add_apply(actions: Any) -> None:
    parser = actions.add_parser(
        "apply",
        help="run a kernel over trajectories",
        description="Write what a kernel gives at each frame, as the array output.",
    )
    parser.add_argument("kernel", metavar="KERNEL", help="what `fastmotion kernel fit` wrote")
    parser.add_argument("poses", metavar="POSES", help="trajectories, an .npz file")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the result, an .npz file"
    )
    parser.add_argument("--n-jobs", type=int, metavar="N", help="number of threads (all)")
    parser.set_defaults(run=run_apply)


def run_fit(args: argparse.Namespace) -> None:
    """Fit, write and print."""
    from fastmotion.trajectory import MotionKernel
    from fastmotion.trajectory.kernel_file import kernel_to_arrays

    _check_output(args.output)
    poses = _read_poses(args.poses)
    given = {name: getattr(args, name) for name in args.parameter_names}
    parameters = {name: value for name, value in given.items() if value is not None}
    if poses.y is not None and args.target is not None:
        raise ValueError(
            f"{args.poses} holds y, which is the target, and --target {args.target} asks for "
            "another; leave one of them out"
        )
    if poses.fps is not None:
        parameters.setdefault("fps", poses.fps)
    kernel = MotionKernel(**parameters).fit(poses.X, poses.y, confidence=poses.confidence)
    _write(args.output, kernel_to_arrays(kernel))
    _print_kernel(kernel, kernel.score(poses.X, poses.y))


def run_apply(args: argparse.Namespace) -> None:
    """Apply and write."""
    import numpy as np

    from fastmotion.trajectory.kernel_file import kernel_from_arrays

    _check_output(args.output)
    try:
        kernel = kernel_from_arrays(_read(args.kernel))
    except ValueError as error:
        raise ValueError(f"{args.kernel}: {error}") from error
    poses = _read_poses(args.poses)
    if None not in (poses.fps, kernel.fps) and poses.fps != kernel.fps:
        raise ValueError(
            f"{args.poses} has {poses.fps:g} frames per second, the kernel was fitted at "
            f"{kernel.fps:g}; resample the poses, or fit a kernel to such"
        )
    kernel.set_params(n_jobs=args.n_jobs)
    output = kernel.transform(poses.X, poses.confidence)
    arrays = {}
    if poses.lengths is not None or isinstance(output, list):
        arrays["lengths"] = np.array([len(part) for part in output])
        output = np.concatenate(output)
    if poses.fps is not None:
        arrays["fps"] = np.array(poses.fps)
    _write(args.output, {"output": output, **arrays})


def _read(path: str) -> dict[str, NDArray]:
    """Return the arrays of a file."""
    import zipfile

    import numpy as np

    from fastmotion.io.files import existing_file

    try:
        # Opened here: NumPy leaves the file of a damaged archive open.
        with (
            open(existing_file(path), "rb") as stream,
            np.load(stream, allow_pickle=False) as file,
        ):
            return {name: file[name] for name in file.files}
    except (AttributeError, EOFError, TypeError, ValueError, zipfile.BadZipFile) as error:
        # A single array, text and a damaged archive fail in ways of their own.
        raise ValueError(f"{path} cannot be read as an .npz file of numbers: {error}") from error


def _read_poses(path: str) -> _Poses:
    arrays = _read(path)
    names = [name for name in arrays if name not in _BESIDE]
    chosen = [name for name in ("X", "positions") if name in names] or names
    if len(chosen) != 1:
        raise ValueError(
            f"{path} must hold the array X or positions, or a single one, got {names or 'none'}"
        )
    fps = _read_fps(arrays["fps"], path) if "fps" in arrays else None
    lengths = arrays.get("lengths")
    X, y, confidence = (
        _split(arrays.get(name), lengths, path) for name in (chosen[0], "y", "confidence")
    )
    return _Poses(X, y, confidence, lengths, fps)


def _read_fps(fps: NDArray, path: str) -> float:
    if fps.size != 1 or fps.dtype.kind not in "iuf":
        raise ValueError(
            f"fps in {path} must be one number, got {fps.dtype} of shape {fps.shape}; one rate "
            "holds for all sequences"
        )
    return float(fps.item())


def _split(
    array: NDArray | None, lengths: NDArray | None, path: str
) -> NDArray | list[NDArray] | None:
    """Return the sequences that lie one after the other in an array, or the array itself."""
    import numpy as np

    if array is None or lengths is None:
        return array
    if lengths.dtype.kind not in "iu" or lengths.ndim != 1 or (lengths < 1).any():
        raise ValueError(
            f"lengths in {path} must be whole numbers of frames, at least 1 for each sequence, got "
            f"{lengths.dtype} of shape {lengths.shape}: {lengths.tolist()}"
        )
    if array.ndim == 4 or lengths.sum() != len(array):
        raise ValueError(
            f"the lengths in {path} must add up to the frames of its arrays, got {lengths.sum()} "
            f"and an array of shape {array.shape}"
        )
    return np.split(array, np.cumsum(lengths)[:-1])


def _check_output(path: str) -> None:
    if not path.endswith(".npz"):
        raise ValueError(f"the result is an .npz file, got {path}; give it that suffix")


def _write(path: str, arrays: dict[str, Any]) -> None:
    import numpy as np

    from fastmotion.io.files import replacing

    with replacing(path) as part:
        np.savez(part, **arrays)


def _print_kernel(kernel: Any, r_squared: float) -> None:
    import numpy as np

    from fastmotion.trajectory.lags import offset_basis

    rows = kernel.coef_.reshape(-1, len(kernel.offsets_))
    shown = rows[:_MOST_COLUMNS]
    print(f"{len(rows)} kernel(s) of {rows.shape[1]} taps, {kernel.n_windows_} windows")
    headings = [f"{kernel.sharing} {i}" if len(rows) > 1 else "weight" for i in range(len(shown))]
    print(f"{'frame':>6}" + "".join(f"{heading:>15}" for heading in headings))
    for offset, weights in zip(kernel.offsets_, shown.T):
        print(f"{offset:6d}" + "".join(f"{weight:15.6g}" for weight in weights))
    print(f"{'sum':>6}" + "".join(f"{weight:15.6g}" for weight in shown.sum(axis=1)))
    if len(rows) > len(shown):
        print(f"and {len(rows) - len(shown)} kernels more")
    lags = kernel.statistics_.lags_of(kernel.offsets_)
    gram = kernel.statistics_.rotated_gram(lags, offset_basis(len(lags)))
    print(f"R² {r_squared:.6f}, condition {np.linalg.cond(gram).max():.3g}")
