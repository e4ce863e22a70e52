"""Motion kernels fitted on lagged matrices that are spelt out, by NumPy's least squares."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import null_space


def labels(sharing, n_joints, n_coords):
    """Return the number of the kernel of each joint and coordinate."""
    return np.array(
        [
            [
                {"all": 0, "coordinate": c, "joint": j, "channel": j * n_coords + c}[sharing]
                for c in range(n_coords)
            ]
            for j in range(n_joints)
        ]
    )


def taps(n_taps, causal=True, dilation=1):
    """Return the frames that a kernel reads."""
    newest = 0 if causal else (n_taps - 1) // 2
    return [dilation * (newest - i) for i in reversed(range(n_taps))]


def goal(target, horizon=1, fps=None):
    """Return what is wanted, as weights of frames by offset."""
    if target in ("next", "position"):
        return {horizon if target == "next" else 0: 1.0}
    order = {"velocity": 1, "acceleration": 2}[target]
    # The seven weights that differentiate all powers of t up to the sixth one exactly.
    frames = np.arange(-3.0, 4.0)
    powers = np.array([frames**p for p in range(7)])
    right = [math.factorial(order) if p == order else 0.0 for p in range(7)]
    weights = np.linalg.solve(powers, right) * (1.0 if fps is None else fps) ** order
    return dict(zip(range(-3, 4), weights))


@dataclass
class Rows:
    """Windows of one kernel: what it reads, what it shall give, and where they come from."""

    read: np.ndarray
    wanted: np.ndarray
    weights: np.ndarray
    frames: list


def rows(X, groups, offsets, wanted, *, y=None, weights=None, confidence=None):
    """Return the windows of each kernel that no missing value spoils, one by one.

    `X`, `y` and `confidence` are lists of sequences, `wanted` weights by offset; `weights` has one
    item for each sequence, that broadcasts to (n_frames, n_joints).
    """
    span = [*offsets, 0, *(wanted if y is None else ())]
    first, last = min(span), max(span)
    found = [([], [], [], []) for _ in range(groups.max() + 1)]
    for s, x in enumerate(X):
        x = np.asarray(x, np.float64)
        own = np.ones(x.shape[:2]) if weights is None else np.zeros(x.shape[:2]) + weights[s]
        for t, joint, coord in np.ndindex(x.shape):
            if t + first < 0 or t + last >= len(x):
                continue
            series = x[:, joint, coord]
            value = (
                sum(w * series[t + o] for o, w in wanted.items())
                if y is None
                else np.float64(y[s][t, joint, coord])
            )
            if np.isnan(series[t + first : t + last + 1]).any() or np.isnan(value):
                continue
            weight = own[t, joint]
            if confidence is not None:
                weight *= np.nan_to_num(confidence[s][t + first : t + last + 1, joint]).min()
            lists = found[groups[joint, coord]]
            for item, part in zip((series[[t + o for o in offsets]], value, weight), lists):
                part.append(item)
            lists[3].append((s, t, joint, coord))
    return [
        Rows(np.reshape(read, (-1, len(offsets))), np.array(aim, float), np.array(w, float), at)
        for read, aim, w, at in found
    ]


def shrunk(parts, share):
    """Return the windows of each kernel with those of all, at the share that they are to have."""
    energies = [
        part.weights @ ((part.read - part.read.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        for part in parts
    ]
    joined = []
    for part, energy in zip(parts, energies):
        scale = share * energy / sum(energies)
        joined.append(
            Rows(
                np.concatenate([part.read, *(p.read for p in parts)]),
                np.concatenate([part.wanted, *(p.wanted for p in parts)]),
                np.concatenate([(1 - share) * part.weights, *(scale * p.weights for p in parts)]),
                [],
            )
        )
    return joined


def differences(n, order):
    """Return the matrix of differences of neighbours, or of their differences."""
    matrix = np.eye(n)
    for _ in range(order):
        matrix = matrix[1:] - matrix[:-1]
    return matrix


def moment_rows(offsets, moments):
    """Return constraints ``rows @ w == values`` for moments by their order."""
    return (
        np.array([[float(o) ** p for o in offsets] for p in moments]).reshape(-1, len(offsets)),
        np.array(list(moments.values()), float),
    )


def least_squares(
    part,
    offsets,
    *,
    alpha=0.0,
    prior=None,
    smoothness=0.0,
    smoothness_order=1,
    soft_sum=None,
    moments=None,
    intercept=False,
):
    """Return weights and constant by `lstsq` on rows for data and penalties, within constraints."""
    n = len(offsets)
    root = np.sqrt(part.weights)[:, np.newaxis]
    blocks, right = [part.read * root], [part.wanted * root[:, 0]]
    blocks.append(np.sqrt(alpha) * np.eye(n))
    right.append(np.sqrt(alpha) * (np.zeros(n) if prior is None else np.asarray(prior)))
    if smoothness and n > smoothness_order:
        blocks.append(np.sqrt(smoothness) * differences(n, smoothness_order))
        right.append(np.zeros(n - smoothness_order))
    if soft_sum:
        total, strength = soft_sum
        blocks.append(np.sqrt(strength) * np.ones((1, n)))
        right.append([np.sqrt(strength) * total])
    matrix, right = np.concatenate(blocks), np.concatenate(right)
    if intercept:
        ones = np.zeros((len(matrix), 1))
        ones[: len(root)] = root
        matrix = np.concatenate([matrix, ones], axis=1)
    constraints, values = moment_rows(offsets, moments or {})
    constraints = np.pad(constraints, ((0, 0), (0, int(intercept))))
    start, free = np.zeros(matrix.shape[1]), np.eye(matrix.shape[1])
    if len(values):
        start = np.linalg.lstsq(constraints, values, rcond=None)[0]
        free = null_space(constraints)
    inner = np.linalg.lstsq(matrix @ free, right - matrix @ start, rcond=None)[0]
    solution = start + free @ inner
    return solution[:n], solution[n] if intercept else 0.0


def without_noise(part, offsets, wanted, sigma, moments=None):
    """Return ``G⁻¹ (G d - N σ² d)``, d being what is wanted, within constraints (dense KKT)."""
    gram = np.einsum("ri,r,rj->ij", part.read, part.weights, part.read)
    stencil = np.array([wanted.get(o, 0.0) for o in offsets])
    moment = np.einsum("ri,r,r->i", part.read, part.weights, part.wanted)
    moment = moment - part.weights.sum() * sigma**2 * stencil
    constraints, values = moment_rows(offsets, moments or {})
    n, m = len(offsets), len(values)
    saddle = np.block([[gram, constraints.T], [constraints, np.zeros((m, m))]])
    return np.linalg.solve(saddle, np.concatenate([moment, values]))[:n]


def huber(part, offsets, n_rounds=200, **options):
    """Return weights and constant by least squares with outlying windows weighed down again."""
    kernel, constant = least_squares(part, offsets, **options)
    for _ in range(n_rounds):
        sizes = np.abs(part.wanted - part.read @ kernel - constant)
        limit = 1.345 * np.median(sizes) / 0.6744897501960817
        factors = [limit / size if size > limit else 1.0 for size in sizes]
        changed = Rows(part.read, part.wanted, part.weights * factors, part.frames)
        kernel, constant = least_squares(changed, offsets, **options)
    return kernel, constant


def refitted(part, offsets, there, constant=0.0, **options):
    """Return the kernel of windows of which only some taps are there; zero for the others."""
    cut = Rows(part.read[:, there], part.wanted - constant, part.weights, part.frames)
    kept = [o for o, is_there in zip(offsets, there) if is_there]
    kernel = np.zeros(len(offsets))
    kernel[there], _ = least_squares(cut, kept, **options)
    return kernel
