"""Hidden Markov models spelt out: every path in turn, and whole lattices of logarithms."""

import itertools

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal


def log_densities(X, means, covariances):
    """Return log-densities (n_frames, n_states) of what is observed; full covariances."""
    out = np.zeros((len(X), len(means)))
    for t, frame in enumerate(np.asarray(X, np.float64)):
        known = ~np.isnan(frame)
        if not known.any():
            continue
        for k, (mean, covariance) in enumerate(zip(means, covariances)):
            inner = covariance[np.ix_(known, known)]
            out[t, k] = multivariate_normal.logpdf(frame[known], mean[known], inner)
    return out


def _logs(startprob, transmat):
    with np.errstate(divide="ignore"):
        return np.log(startprob), np.log(transmat)


def every_path(log_b, startprob, transmat):
    """Return all paths and the log-probability of each together with the frames."""
    log_start, log_trans = _logs(startprob, transmat)
    n_frames, n_states = log_b.shape
    paths = np.array(list(itertools.product(range(n_states), repeat=n_frames)))
    scores = log_start[paths[:, 0]] + log_b[np.arange(n_frames), paths].sum(axis=1)
    for t in range(1, n_frames):
        scores = scores + log_trans[paths[:, t - 1], paths[:, t]]
    return paths, scores


def smooth(log_b, startprob, transmat):
    """Return log-likelihood, probabilities of states, and expected numbers of transitions."""
    log_start, log_trans = _logs(startprob, transmat)
    n_frames, n_states = log_b.shape
    # Densities of a frame that are all small tell nothing of the states, and cost no digits.
    tops = log_b.max(axis=1)
    log_b = log_b - tops[:, None]
    forward = np.empty((n_frames, n_states))
    backward = np.zeros((n_frames, n_states))
    with np.errstate(divide="ignore"):
        forward[0] = log_start + log_b[0]
        for t in range(1, n_frames):
            forward[t] = logsumexp(forward[t - 1][:, None] + log_trans, axis=0) + log_b[t]
        for t in range(n_frames - 2, -1, -1):
            backward[t] = logsumexp(log_trans + log_b[t + 1] + backward[t + 1], axis=1)
        total = logsumexp(forward[-1])
    posteriors = np.exp(forward + backward - total)
    transitions = np.zeros((n_states, n_states))
    for t in range(n_frames - 1):
        after = log_b[t + 1] + backward[t + 1]
        transitions += np.exp(forward[t][:, None] + log_trans + after - total)
    return total + tops.sum(), posteriors, transitions


def viterbi(log_b, startprob, transmat):
    """Return the log-probability of the best path, and the path."""
    log_start, log_trans = _logs(startprob, transmat)
    tops = log_b.max(axis=1)
    log_b = log_b - tops[:, None]
    best = log_start + log_b[0]
    origins = []
    for row in log_b[1:]:
        sums = best[:, None] + log_trans
        origins.append(sums.argmax(axis=0))
        best = sums.max(axis=0) + row
    path = [int(best.argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return best.max() + tops.sum(), np.array(path[::-1])


def em_step(sequences, startprob, transmat, means, covariances):
    """Return what one step without priors makes of the parameters, and the log-likelihood."""
    n_states, n_features = means.shape
    starts, transitions = np.zeros(n_states), np.zeros((n_states, n_states))
    counts = np.zeros(n_states)
    first, second = np.zeros((n_states, n_features)), np.zeros((n_states, n_features, n_features))
    total = 0.0
    for X in sequences:
        score, posteriors, moves = smooth(log_densities(X, means, covariances), startprob, transmat)
        total += score
        starts += posteriors[0]
        transitions += moves
        counts += posteriors.sum(axis=0)
        first += posteriors.T @ X
        second += np.einsum("tk,ti,tj->kij", posteriors, X, X)
    new_means = first / counts[:, None]
    outer = new_means[:, :, None] * new_means[:, None, :]
    return {
        "score": total,
        "startprob": starts / starts.sum(),
        "transmat": transitions / transitions.sum(axis=1, keepdims=True),
        "means": new_means,
        "covariances": second / counts[:, None, None] - outer,
        "counts": counts,
    }
