"""Banks of motion kernels spelt out: lagged matrices, general eigensolvers, statistics in loops."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import eigh, null_space


def windows(sequences, n_frames):
    """Return all windows without a missing frame as rows, oldest frame first."""
    rows = [
        sliding_window_view(x[:, joint, coord], n_frames)
        for x in sequences
        if len(x) >= n_frames
        for joint, coord in np.ndindex(x.shape[1:])
    ]
    rows = np.concatenate(rows)
    return rows[~np.isnan(rows).any(axis=1)]


def next_kernel(rows, present, offsets, goal, alpha=0.0):
    """Return the least squares of the frame at `goal`, with a ridge towards the newest frame.

    The frame at offset 0 is column `present` of the windows. The weights add up to one. The ridge
    has the unit of the error of repeating the newest frame.
    """
    newest = rows[:, [present + offsets[-1]]]
    x, y = rows[:, present + offsets] - newest, rows[:, present + goal] - newest[:, 0]
    hold = np.zeros(len(offsets))
    hold[-1] = 1
    free = null_space(np.ones((1, len(offsets))))
    ridge = np.sqrt(alpha * np.sum(y**2)) * np.eye(free.shape[1])
    moves = np.linalg.lstsq(np.vstack([x @ free, ridge]), np.append(y, np.zeros(len(ridge))))[0]
    return hold + free @ moves


def class_kernels(rows_by_class, places, alpha=0.0):
    """Return the first generalised eigenvectors on the weights that add up to zero."""
    free = null_space(np.ones((1, len(places))))
    grams = []
    for rows in rows_by_class:
        x = rows[:, places] - rows[:, places].mean(axis=1, keepdims=True)
        grams.append(free.T @ x.T @ x @ free)
    total = sum(grams)
    total = total + alpha * np.trace(total) / len(total) * np.eye(len(total))
    kernels = [free @ eigh(gram, total)[1][:, -1] for gram in grams]
    return [kernel / np.linalg.norm(kernel) for kernel in kernels]


def complete_outputs(series, offsets, weights):
    """Return the outputs of windows that lie within a series."""
    spread = np.zeros(offsets[-1] - offsets[0] + 1)
    spread[offsets - offsets[0]] = weights
    return np.correlate(series, spread, mode="valid")


def objective(rows, present, kernels, goals, penalty, measure, start):
    """Return the sum of errors and squared similarities, and the cosines of all pairs.

    `start` holds the kernels at which the similarities are cosines.
    """
    total = 0.0
    for (offsets, weights), goal in zip(kernels, goals):
        x, y = rows[:, present + offsets], rows[:, present + goal]
        total += np.sum((y - x @ weights) ** 2) / np.sum((y - x[:, -1]) ** 2)
    products = similarities(rows, present, kernels, measure)
    at_start = np.sqrt(np.diag(similarities(rows, present, start, measure)))
    pairs = (products / np.outer(at_start, at_start))[np.triu_indices(len(kernels), 1)]
    sizes = np.sqrt(np.diag(products))
    return total + penalty * np.sum(pairs**2), products / np.outer(sizes, sizes)


def similarities(rows, present, kernels, measure):
    if measure == "outputs":
        motions = [
            rows[:, present + offsets] @ weights - rows[:, present + offsets[-1]]
            for offsets, weights in kernels
        ]
        return np.array([[a @ b for b in motions] for a in motions])
    spread = np.zeros((len(kernels), rows.shape[1]))
    for row, (offsets, weights) in zip(spread, kernels):
        row[present + offsets] = weights
    return spread @ spread.T


def pooled(outputs, pools, pyramid, fill_value):
    """Return the features of one sequence of outputs (n_frames, n_joints, n_coords, n_kernels)."""
    features = []
    for k, joint, coord in np.ndindex(outputs.shape[3], *outputs.shape[1:3]):
        series = outputs[:, joint, coord, k].astype(float)
        for name in pools:
            for level in pyramid:
                for i in range(level):
                    n = len(series)
                    part = series[n * i // level : n * (i + 1) // level]
                    part = part[~np.isnan(part)]
                    features.append(_statistic(name, part) if len(part) else fill_value)
    return np.array(features)


def _statistic(name, values):
    if name == "energy":
        return sum(v * v for v in values) / len(values)
    return {"mean": np.mean, "std": np.std, "min": min, "max": max}[name](values)
