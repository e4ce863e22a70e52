"""A figure that walks, runs or stands, with the derivatives of its motion known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch, check_random_state

__all__ = ["make_motion"]

# Name, parent and place relative to the parent in mm, standing upright: x to the front, y to the
# left, z up. Proportions of an adult of 1.75 m.
_SKELETON: tuple[tuple[str, str | None, tuple[float, float, float]], ...] = (
    ("pelvis", None, (0, 0, 0)),
    ("spine", "pelvis", (0, 0, 120)),
    ("chest", "spine", (0, 0, 220)),
    ("neck", "chest", (0, 0, 200)),
    ("head", "neck", (20, 0, 180)),
    ("left_shoulder", "chest", (0, 190, 150)),
    ("left_elbow", "left_shoulder", (0, 0, -290)),
    ("left_wrist", "left_elbow", (0, 0, -250)),
    ("right_shoulder", "chest", (0, -190, 150)),
    ("right_elbow", "right_shoulder", (0, 0, -290)),
    ("right_wrist", "right_elbow", (0, 0, -250)),
    ("left_hip", "pelvis", (0, 90, -20)),
    ("left_knee", "left_hip", (0, 0, -430)),
    ("left_ankle", "left_knee", (0, 0, -420)),
    ("left_toe", "left_ankle", (160, 0, -60)),
    ("right_hip", "pelvis", (0, -90, -20)),
    ("right_knee", "right_hip", (0, 0, -430)),
    ("right_ankle", "right_knee", (0, 0, -420)),
    ("right_toe", "right_ankle", (160, 0, -60)),
)
_NAMES = tuple(name for name, _, _ in _SKELETON)

# What a rotation by a small angle does. Flexion swings what hangs down to the front.
_GENERATORS = {
    "flexion": np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]),
    "bend": np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
    "twist": np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
}


class _Wave(NamedTuple):
    """A mean, and harmonics of the cycle as (number, amplitude, phase in degrees).

    The cycle begins as the right heel strikes, and half a cycle later for what is on the left.
    A phase of None is drawn.
    """

    mean: float
    harmonics: tuple[tuple[int, float, float | None], ...] = ()


@dataclass(frozen=True)
class _Activity:
    """Speed in mm/s, cycles per second, and the waves of angles (degrees) and pelvis (mm)."""

    speed: float
    cadence: float
    waves: dict[tuple[str, str], _Wave]


def _sway(mean: float, amplitude: float) -> _Wave:
    return _Wave(mean, tuple((k, amplitude / k, None) for k in range(1, 9)))


# Hips, knees and ankles follow the curves that textbooks of gait analysis print. On the axis of the
# body, what is even under left for right has even harmonics alone, what is odd, odd ones.
_ACTIVITIES = {
    "walk": _Activity(
        1400.0,
        0.95,
        {
            ("pelvis", "x"): _Wave(0, ((2, 8, 90),)),
            ("pelvis", "y"): _Wave(0, ((1, 20, -90),)),
            ("pelvis", "z"): _Wave(905, ((2, 20, 190),)),
            ("pelvis", "flexion"): _Wave(-3, ((2, 1.5, 40),)),
            ("pelvis", "bend"): _Wave(0, ((1, 4, 70), (3, 0.8, 20))),
            ("pelvis", "twist"): _Wave(0, ((1, 4, 0), (3, 0.5, 60))),
            ("spine", "flexion"): _Wave(-3, ((2, 1.5, 200),)),
            ("spine", "bend"): _Wave(0, ((1, 4, 250),)),
            ("spine", "twist"): _Wave(0, ((1, 4, 180),)),
            ("chest", "twist"): _Wave(0, ((1, 5, 190),)),
            ("neck", "flexion"): _Wave(4, ((2, 1, 100),)),
            ("neck", "twist"): _Wave(0, ((1, 5, 10),)),
            ("shoulder", "flexion"): _Wave(-3, ((1, 18, 180), (2, 1.5, 60))),
            ("shoulder", "bend"): _Wave(8, ((1, 2, 90),)),
            ("elbow", "flexion"): _Wave(24, ((1, 10, 190), (2, 2, 30))),
            ("hip", "flexion"): _Wave(12.8, ((1, 21.2, -14), (2, 3.7, -153), (3, 1.2, 88))),
            ("hip", "bend"): _Wave(-1, ((1, 4, 250), (2, 1, 60))),
            ("hip", "twist"): _Wave(0, ((1, 4, 180),)),
            ("knee", "flexion"): _Wave(-22.1, ((1, 19.5, 82), (2, 16.9, -30), (3, 4.5, -88))),
            ("ankle", "flexion"): _Wave(
                -0.7, ((1, 5.6, 93), (2, 10.4, -94), (3, 2.6, 80), (4, 1.6, -46))
            ),
        },
    ),
    "run": _Activity(
        3500.0,
        1.4,
        {
            ("pelvis", "x"): _Wave(0, ((2, 12, 60),)),
            ("pelvis", "y"): _Wave(0, ((1, 10, -70),)),
            ("pelvis", "z"): _Wave(900, ((2, 42, 290), (4, 4, 30))),
            ("pelvis", "flexion"): _Wave(-8, ((2, 3, 60),)),
            ("pelvis", "bend"): _Wave(0, ((1, 5, 60), (3, 1.5, 10))),
            ("pelvis", "twist"): _Wave(0, ((1, 7, 10), (3, 1.5, 70))),
            ("spine", "flexion"): _Wave(-6, ((2, 3, 220),)),
            ("spine", "bend"): _Wave(0, ((1, 5, 240),)),
            ("spine", "twist"): _Wave(0, ((1, 8, 185),)),
            ("chest", "twist"): _Wave(0, ((1, 10, 190),)),
            ("neck", "flexion"): _Wave(10, ((2, 2, 90),)),
            ("neck", "twist"): _Wave(0, ((1, 11, 10),)),
            ("shoulder", "flexion"): _Wave(-15, ((1, 32, 180), (2, 4, 50))),
            ("shoulder", "bend"): _Wave(12, ((1, 4, 90),)),
            ("elbow", "flexion"): _Wave(85, ((1, 18, 200), (2, 6, 40))),
            ("hip", "flexion"): _Wave(20, ((1, 22.2, -36), (2, 5.3, 163), (3, 1, -170))),
            ("hip", "bend"): _Wave(-1, ((1, 5, 240), (2, 2, 60))),
            ("hip", "twist"): _Wave(0, ((1, 7, 190),)),
            ("knee", "flexion"): _Wave(-46.4, ((1, 30.9, 65), (2, 24.6, -47), (3, 2.4, -37))),
            ("ankle", "flexion"): _Wave(2.8, ((1, 11.3, 2), (2, 10.9, 124), (3, 4.2, -138))),
        },
    ),
    "stand": _Activity(
        0.0,
        0.1,
        {
            ("pelvis", "x"): _sway(0, 8),
            ("pelvis", "y"): _sway(0, 5),
            ("pelvis", "z"): _sway(925, 1),
            ("pelvis", "flexion"): _sway(0, 0.5),
            ("pelvis", "bend"): _sway(0, 0.4),
            ("pelvis", "twist"): _sway(0, 1),
            ("spine", "flexion"): _sway(-2, 0.8),
            ("spine", "bend"): _sway(0, 0.5),
            ("chest", "twist"): _sway(0, 1),
            ("neck", "flexion"): _sway(2, 2),
            ("neck", "twist"): _sway(0, 4),
            ("shoulder", "flexion"): _sway(0, 2),
            ("shoulder", "bend"): _sway(8, 1),
            ("elbow", "flexion"): _sway(14, 3),
            ("hip", "flexion"): _sway(2, 0.6),
            ("hip", "bend"): _sway(3, 0.4),
            ("knee", "flexion"): _sway(-4, 0.8),
            ("ankle", "flexion"): _sway(2, 0.4),
        },
    ),
}

_LONGEST_GAP = 9  # frames

_DESCR = """\
A figure of {n_joints} joints; activity: {kind}. x points to the front, y to the left, z up; mm.

Angles of the joints are sums of harmonics of one phase, and positions follow from them through a
chain of rigid limbs, together with the first and second derivatives, which are exact. The feet are
not held to the floor.
"""


def make_motion(
    kind: str = "walk",
    *,
    n_sequences: int = 1,
    n_frames: int = 300,
    fps: float = 60.0,
    variation: float = 0.1,
    noise: float = 0.0,
    gap_fraction: float = 0.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make trajectories of the joints of a walking, running or standing figure.

    The limbs are rigid, and their angles are sums of harmonics of the phase of a stride, so that
    position, velocity and acceleration are known at any time without differences.

    Parameters
    ----------
    kind : {"walk", "run", "stand"}, default="walk"
        What the figure does. Standing, it sways a little.
    n_sequences : int, default=1
        Number of sequences, each of another person at another pace.
    n_frames : int, default=300
        Number of frames of each.
    fps : float, default=60.0
        Frames per second.
    variation : float, default=0.1
        Spread of pace, step frequency, size and style among the sequences, from 0 (they differ in
        the phase that they begin at alone) to 0.5; relative to what is usual.
    noise : float, default=0.0
        Standard deviation of white noise in `observed`, in mm.
    gap_fraction : float, default=0.0
        Expected share of positions that are missing (NaN) from `observed`, less than 1. A joint
        is lost for 1 to 9 frames at a time, or longer where gaps meet.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same motion in each call. A sequence is then the same for any
        `n_sequences`, its frames for any `n_frames`, and its motion for any `noise` and
        `gap_fraction`.

    Returns
    -------
    bunch : Bunch
        positions : ndarray of shape (n_sequences, n_frames, 19, 3), float64
            In mm. The last axis is x to the front, y to the left, z up from the floor.
        velocity, acceleration : ndarray of the same shape
            The exact derivatives, in mm/s and mm/s².
        observed : ndarray of the same shape
            The positions with noise and gaps.
        joint_names : list of str
            What the joints are called.
        parents : ndarray of shape (19,), int64
            The joint that each one hangs on, which precedes it; -1 for the pelvis.
        edges : ndarray of shape (18, 2), int64
            The limbs, as pairs of a parent and a joint.
        speed, cadence : ndarray of shape (n_sequences,)
            Mean speed in mm/s, and cycles (strides, for who walks) per second.
        fps : float
            Frames per second.
        activity : str
            `kind`.
        DESCR : str
            How the motion was made.

    Raises
    ------
    TypeError
        If a number of sequences or frames is no integer.
    ValueError
        If a parameter has an impossible value.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.datasets import make_motion
    >>> walk = make_motion("walk", n_sequences=2, n_frames=120, noise=3.0, random_state=0)
    >>> walk.positions.shape
    (2, 120, 19, 3)
    >>> difference = np.gradient(walk.positions, 1 / walk.fps, axis=1)[:, 1:-1]
    >>> bool(np.abs(difference - walk.velocity[:, 1:-1]).max() < 0.02 * walk.velocity.max())
    True
    """
    if kind not in _ACTIVITIES:
        raise ValueError(f"kind must be one of {list(_ACTIVITIES)}, got {kind!r}")
    _check_count("n_sequences", n_sequences)
    _check_count("n_frames", n_frames)
    _check_number("fps", fps, 0 < fps < math.inf, "a positive number of frames per second")
    _check_number("variation", variation, 0 <= variation <= 0.5, "a number from 0 to 0.5")
    _check_number("noise", noise, 0 <= noise < math.inf, "a number of mm, zero or more")
    _check_number("gap_fraction", gap_fraction, 0 <= gap_fraction < 1, "in [0, 1)")
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    figures = [
        _Figure(_ACTIVITIES[kind], variation, np.random.default_rng([seed, i]))
        for i in range(n_sequences)
    ]
    times = np.arange(n_frames) / fps
    motion = np.stack([figure.move(times) for figure in figures], axis=1)
    observed = [
        _observe(clean, noise, gap_fraction, [seed, i]) for i, clean in enumerate(motion[0])
    ]
    parents = np.array([-1 if p is None else _NAMES.index(p) for _, p, _ in _SKELETON])
    return Bunch(
        positions=motion[0],
        velocity=motion[1],
        acceleration=motion[2],
        observed=np.stack(observed),
        joint_names=list(_NAMES),
        parents=parents,
        edges=np.column_stack([parents, np.arange(len(parents))])[1:],
        speed=np.array([figure.speed for figure in figures]),
        cadence=np.array([figure.cadence for figure in figures]),
        fps=float(fps),
        activity=kind,
        DESCR=_DESCR.format(n_joints=len(_NAMES), kind=kind),
    )


class _Figure:
    """One person at one pace.

    Values that change in time are jets: arrays whose first axis holds the value and its first and
    second derivatives, so that the rules of differentiation carry them through the chain.
    """

    def __init__(self, activity: _Activity, variation: float, random: np.random.Generator) -> None:
        def about_one(spread: float) -> float:
            return 1 + spread * random.uniform(-1, 1)

        pace = about_one(variation)
        self.speed = activity.speed * pace
        # Who goes faster takes longer steps as well as more of them.
        self.cadence = activity.cadence * math.sqrt(pace)
        self._size = about_one(variation / 3)
        self._start = random.uniform(0, 2 * math.pi)
        self._means: dict[tuple[str, str], float] = {}
        self._harmonics: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
        for (joint, axis), wave in activity.waves.items():
            factor = math.sqrt(pace) * about_one(variation)
            for name in (joint,) if joint in _NAMES else (f"left_{joint}", f"right_{joint}"):
                self._means[name, axis] = wave.mean
                self._harmonics[name, axis] = [
                    (k, factor * amplitude, random.uniform(0, 360) if phase is None else phase)
                    for k, amplitude, phase in wave.harmonics
                ]

    def move(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a jet of positions, of shape (3, n_frames, n_joints, 3)."""
        positions = np.empty((3, len(times), len(_NAMES), 3))
        turns: dict[str, NDArray] = {}
        for j, (name, parent, offset) in enumerate(_SKELETON):
            turn = self._rotation(name, times)
            if parent is None:
                positions[:, :, j] = self._root(times)
            else:
                limb = turns[parent] @ (self._size * np.array(offset))
                positions[:, :, j] = positions[:, :, _NAMES.index(parent)] + limb
                turn = _product(turns[parent], turn)
            turns[name] = turn
        return positions

    def _root(self, times: NDArray) -> NDArray:
        place = np.stack([self._wave("pelvis", axis, times) for axis in "xyz"], axis=-1)
        place *= self._size
        place[0, :, 0] += self.speed * times
        place[1, :, 0] += self.speed
        return place

    def _rotation(self, name: str, times: NDArray) -> NDArray:
        """Return a jet of rotations relative to the parent, (3, n_frames, 3, 3)."""
        result = np.zeros((3, len(times), 3, 3))
        result[0] = np.eye(3)
        for axis, generator in _GENERATORS.items():
            if (name, axis) in self._means:
                # What bends or turns outwards turns the other way on the right.
                is_mirrored = name.startswith("right_") and axis != "flexion"
                angle = np.radians(self._wave(name, axis, times)) * (-1 if is_mirrored else 1)
                result = _product(result, _rotate(generator, angle))
        return result

    def _wave(self, name: str, axis: str, times: NDArray) -> NDArray:
        """Return a jet of an angle or a coordinate, (3, n_frames)."""
        jet = np.zeros((3, len(times)))
        jet[0] = self._means[name, axis]
        rate = 2 * math.pi * self.cadence
        phase = rate * times + self._start + (math.pi if name.startswith("left_") else 0)
        for k, amplitude, degrees in self._harmonics[name, axis]:
            angle = k * phase - math.radians(degrees)
            jet[0] += amplitude * np.cos(angle)
            jet[1] -= amplitude * k * rate * np.sin(angle)
            jet[2] -= amplitude * (k * rate) ** 2 * np.cos(angle)
        return jet


def _rotate(generator: NDArray, angle: NDArray) -> NDArray:
    """Return the jet of a rotation by the jet of an angle."""
    value, first, second = angle[..., np.newaxis, np.newaxis]
    squared = generator @ generator
    rotation = np.eye(3) + np.sin(value) * generator + (1 - np.cos(value)) * squared
    slope, curvature = generator @ rotation, squared @ rotation
    return np.stack([rotation, first * slope, second * slope + first**2 * curvature])


def _product(a: NDArray, b: NDArray) -> NDArray:
    """Return the jet of the matrix product of two jets."""
    first = a[1] @ b[0] + a[0] @ b[1]
    second = a[2] @ b[0] + 2 * a[1] @ b[1] + a[0] @ b[2]
    return np.stack([a[0] @ b[0], first, second])


def _observe(
    clean: NDArray, noise: float, gap_fraction: float, seed: list[int]
) -> NDArray[np.float64]:
    # Seeds of their own keep the motion, the noise and the gaps from changing each other.
    observed = clean + np.random.default_rng([*seed, 1]).normal(scale=noise, size=clean.shape)
    n_frames, n_joints, _ = clean.shape
    is_missing = _gaps(n_frames, n_joints, gap_fraction, np.random.default_rng([*seed, 2]))
    observed[is_missing] = np.nan
    return observed


def _gaps(
    n_frames: int, n_joints: int, fraction: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Return which frames of which joints are missing."""
    # At each frame gaps of each length begin independently, all with the same probability. A gap
    # covers as many frames as its length, so a frame is seen with that probability's complement to
    # the power of the sum of all lengths. Some begin before the first frame.
    n_chances = _LONGEST_GAP * (_LONGEST_GAP + 1) // 2
    draws = random.random((n_frames + _LONGEST_GAP - 1, n_joints))
    missing = np.zeros((n_frames, n_joints), bool)
    for age in range(_LONGEST_GAP):
        first = _LONGEST_GAP - 1 - age
        n_longer = _LONGEST_GAP - age
        longer = 1 - (1 - fraction) ** (n_longer / n_chances)
        missing |= draws[first : first + n_frames] < longer
    return missing


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def _check_number(name: str, value: float, is_valid: bool, wanted: str) -> None:
    if not is_valid:
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
