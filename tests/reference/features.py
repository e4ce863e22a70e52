"""Slow readable references for features of motion, in float64 and on whole arrays."""

import itertools

import numpy as np


def orientation_histogram(a, b, n_orientations, still_threshold=None):
    """Return the histogram of the directions of vectors, each voting for two bins."""
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    length = np.hypot(a, b)
    still = np.zeros(length.shape, bool) if still_threshold is None else length <= still_threshold
    votes = np.where(still, 0, length)
    position = np.mod(np.arctan2(b, a), 2 * np.pi) * n_orientations / (2 * np.pi)
    below = np.floor(position).astype(int)
    share = position - below
    histogram = np.zeros(n_orientations)
    np.add.at(histogram, below % n_orientations, (1 - share) * votes)
    np.add.at(histogram, (below + 1) % n_orientations, share * votes)
    return histogram if still_threshold is None else np.append(histogram, still.sum())


def derivatives(component, known):
    """Return the derivatives along x and y of a plane, NaN where a pixel that counts is unknown."""
    gradients = []
    for axis in (1, 0):
        if component.shape[axis] == 1:
            gradients.append(np.zeros_like(component))
        else:
            gradients.append(np.gradient(component, axis=axis))
    return [np.where(known, gradient, np.nan) for gradient in gradients]


def flow_histogram(
    clip, grid, n_orientations=8, still_threshold=0.4, components=("flow", "boundary")
):
    """Return the histograms of one block, histogram by histogram and cell by cell, as sums."""
    known = ~np.isnan(clip).any(axis=-1)
    flow = np.where(known[..., None], clip.astype(np.float64), np.nan)
    fields = []
    if "flow" in components:
        fields.append((flow[..., 0], flow[..., 1], still_threshold))
    if "boundary" in components:
        for k in range(2):
            pairs = [derivatives(plane[..., k], mask) for plane, mask in zip(flow, known)]
            fields.append((*np.stack(pairs, axis=1), None))
    histograms = []
    for a, b, threshold in fields:
        for cell in cells(flow.shape[:3], grid):
            histograms.append(orientation_histogram(a[cell], b[cell], n_orientations, threshold))
    return histograms


def cells(shape, grid):
    """Yield the cells of a grid over a clip as tuples of slices."""
    along = [
        [slice(k * size // n, (k + 1) * size // n) for k in range(n)]
        for size, n in zip(shape, grid)
    ]
    yield from itertools.product(*along)


def log_likelihood(X, logits, means, deviations):
    """Return the mean log-likelihood of samples; weights are the softmax of the logits."""
    log_weights = logits - np.logaddexp.reduce(logits)
    z = (X[:, None] - means) / deviations
    log_p = -0.5 * (z**2 + np.log(2 * np.pi)).sum(-1) - np.log(deviations).sum(-1)
    return np.logaddexp.reduce(log_weights + log_p, axis=1).mean()


def fisher_vector(X, weights, means, deviations, step=1e-5):
    """Return numerical gradients over the roots of the analytic Fisher information.

    By weights (as logits), means and deviations; Sánchez et al. 2013, section 2.3: the information
    is w, w / sigma^2 and 2 w / sigma^2.
    """
    parameters = [np.log(weights), means, deviations]
    information = [weights, weights[:, None] / deviations**2, 2 * weights[:, None] / deviations**2]
    gradients = []
    for k, (values, scale) in enumerate(zip(parameters, information)):
        gradient = np.empty(values.shape)
        for index in np.ndindex(values.shape):
            ends = []
            for sign in (1, -1):
                moved = values.astype(np.float64)
                moved[index] += sign * step
                ends.append(log_likelihood(X, *parameters[:k], moved, *parameters[k + 1 :]))
            gradient[index] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(gradient / np.sqrt(scale))
    return gradients
