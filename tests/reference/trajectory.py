"""Motion kernels spelt out: lagged matrices, and filters that visit every tap of every frame."""

import numpy as np


def lagged_rows(sequences, groups, n_lags, anchor, target=None, weights=None):
    """Return, for each group, all windows as rows (lag 0 first), their targets and their weights.

    `sequences` and the other lists hold one array for each sequence: (n_frames, n_joints,
    n_coords), and `weights` something that broadcasts to it.
    """
    n_groups = groups.max() + 1
    found = [([], [], []) for _ in range(n_groups)]
    for i, x in enumerate(sequences):
        y = np.zeros_like(x) if target is None else target[i]
        w = np.broadcast_to(1.0 if weights is None else weights[i], x.shape)
        for joint, coord in np.ndindex(groups.shape):
            rows, right, row_weights = found[groups[joint, coord]]
            for newest in range(n_lags - 1, len(x)):
                window = x[newest - n_lags + 1 : newest + 1, joint, coord][::-1]
                place = newest - anchor, joint, coord
                if not np.isnan(window).any() and not np.isnan(y[place]):
                    rows.append(window)
                    right.append(y[place])
                    row_weights.append(w[place])
    return [
        (np.reshape(rows, (-1, n_lags)).astype(float), np.array(right, float), np.array(w, float))
        for rows, right, w in found
    ]


def lagged_sums(*args, **kwargs):
    """Return Gram matrices, products with the target, energies, weights and numbers of windows."""
    sums = [
        (
            np.einsum("ri,r,rj->ij", rows, w, rows),
            np.einsum("ri,r,r->i", rows, w, y),
            w @ y**2,
            w.sum(),
            (w > 0).sum(),
        )
        for rows, y, w in lagged_rows(*args, **kwargs)
    ]
    return [np.array(values) for values in zip(*sums)]


def frame_read(t, n_frames, edges):
    """Return the frame that stands in for frame t, or None."""
    if 0 <= t < n_frames:
        return t
    if edges == "nearest":
        return 0 if t < 0 else n_frames - 1
    if edges == "reflect":
        while not 0 <= t < n_frames:
            t = -1 - t if t < 0 else 2 * n_frames - 1 - t
        return t
    return None


def changed_weights(weights, offsets, present, order):
    """Return weights for taps that are there in part, or None where they do not suffice.

    With ``c`` for what is there, they are as near as possible to ``c w``, in the norm that divides
    by c, and have the moments of w up to `order`, and the first one where there are two taps.
    """
    there = present > 0
    n_kept = min(max(order + 1, 2), there.sum())
    if n_kept < order + 1 or n_kept == 0:
        return None
    moments = (offsets / max(1, np.abs(offsets).max()))[np.newaxis] ** np.arange(n_kept)[:, None]
    start = present * weights
    saddle = np.block(
        [
            [np.diag(2 / present[there]), moments[:, there].T],
            [moments[:, there], np.zeros((n_kept, n_kept))],
        ]
    )
    right = np.concatenate([np.zeros(there.sum()), moments @ (weights - start)])
    changed = start.copy()
    changed[there] += np.linalg.solve(saddle, right)[: there.sum()]
    return changed


def filter_value(series, t, offsets, weights, edges, min_valid, order, confidence):
    """Return the output at one frame of one channel."""
    places = [frame_read(t + offset, len(series), edges) for offset in offsets]
    values = np.array([np.nan if place is None else series[place] for place in places], float)
    trust = np.array([0.0 if place is None else confidence[place] for place in places])
    present = np.where(np.isnan(values), 0.0, trust)
    present = present / (present.max() or 1.0)
    if present.sum() < min_valid * len(offsets) - 1e-9:
        return np.nan
    if (present < 1).any():
        weights = changed_weights(weights, offsets, present, order)
        if weights is None:
            return np.nan
    return float(np.where(present > 0, values, 0.0) @ weights)


def edge_kernel(t, n_frames, offsets, edge_weights):
    """Return the taps of a cut-off window and their weights, or None where there are none."""
    before, after = t + min(0, offsets[0]) < 0, t + max(0, offsets[-1]) >= n_frames
    distance = t if before else n_frames - 1 - t
    if before == after or distance >= edge_weights.shape[1]:
        return None
    inside = (t + offsets >= 0) & (t + offsets < n_frames)
    return offsets[inside], edge_weights[int(after), distance][:, inside]


def filtered(
    x, offsets, weights, *, edges, min_valid=0.0, order=0, confidence=None, edge_weights=None
):
    """Return a kernel's output at all frames of one sequence (n_frames, n_joints, n_coords).

    `weights` has one row, or one for each channel; `order` is that of the derivative.
    """
    out = np.empty(x.shape)
    for t, joint, coord in np.ndindex(x.shape):
        taps, rows = offsets, weights
        if edge_weights is not None and edges == "refit":
            taps, rows = edge_kernel(t, len(x), offsets, edge_weights) or (offsets, weights)
        row = rows[(joint * x.shape[2] + coord) % len(rows)]
        trust = np.ones(len(x)) if confidence is None else confidence[:, joint]
        out[t, joint, coord] = filter_value(
            x[:, joint, coord], t, taps, row, edges, min_valid, order, trust
        )
    return out
