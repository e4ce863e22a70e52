"""A linear predictor by its lagged matrix, and gaps by a saddle point of their covariance."""

import numpy as np


def lagged(X, n_taps, horizons):
    """Return the changes within all windows as rows, and how the pose then moves."""
    rows, moves = [], []
    for sequence in X:
        poses = sequence.reshape(len(sequence), -1).astype(float)
        for t in range(n_taps - 1, len(poses) - max(horizons)):
            changes = [poses[t - i] - poses[t - i - 1] for i in range(n_taps - 1)]
            move = [poses[t + h] - poses[t] for h in horizons]
            if np.isfinite(poses[t - n_taps + 1 : t + max(horizons) + 1]).all():
                rows.append(np.concatenate(changes))
                moves.append(np.concatenate(move))
    return np.array(rows), np.array(moves)


def ridge(rows, moves, alpha):
    """Return the weights by `lstsq`, the ridge as further rows."""
    n = rows.shape[1]
    penalty = np.sqrt(alpha * np.mean(np.sum(rows**2, axis=0))) * np.eye(n)
    rows = np.concatenate([rows, penalty])
    return np.linalg.lstsq(rows, np.concatenate([moves, np.zeros((n, moves.shape[1]))]))[0]


def gap_weights(curvature_covariance, missing):
    """Return the best weights of known frames for missing ones that keep straight lines.

    The covariance of positions, straight lines aside, follows from that of second differences.
    """
    n = len(curvature_covariance) + 2
    inverse = np.linalg.pinv(np.diff(np.eye(n), 2, axis=0))
    covariance = inverse @ curvature_covariance @ inverse.T
    known = np.setdiff1d(np.arange(n), missing)
    lines = np.stack([np.ones(n), np.linspace(-1, 1, n)])
    saddle = np.block(
        [[covariance[np.ix_(known, known)], lines[:, known].T], [lines[:, known], np.zeros((2, 2))]]
    )
    right = np.concatenate([covariance[np.ix_(known, missing)], lines[:, missing]])
    return np.linalg.solve(saddle, right)[: len(known)].T
