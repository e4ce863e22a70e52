"""EM for Gaussian mixtures on whole arrays: SciPy's densities, and sums that are spelt out."""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


@dataclass
class Mixture:
    """A mixture whose covariances are matrices, whatever their type."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def matrices(values, covariance_type, n_components, n_features):
    """Return covariances or precisions of a type as one matrix for each component."""
    values = np.asarray(values, dtype=float)
    eye = np.eye(n_features)
    if covariance_type == "full":
        return values.copy()
    if covariance_type == "tied":
        return np.repeat(values[None], n_components, axis=0)
    if covariance_type == "diag":
        return values[:, :, None] * eye
    return values[:, None, None] * eye


def packed(values, covariance_type):
    """Return matrices, one for each component, as those of a type."""
    values = np.asarray(values, dtype=float)
    if covariance_type == "full":
        return values.copy()
    if covariance_type == "tied":
        return values[0].copy()
    diagonals = np.diagonal(values, axis1=1, axis2=2)
    return diagonals.copy() if covariance_type == "diag" else diagonals.mean(axis=1)


def of(estimator):
    """Return the mixture that an estimator has found."""
    size = np.shape(estimator.means_)
    found = matrices(estimator.covariances_, estimator.covariance_type, *size)
    return Mixture(np.float64(estimator.weights_), np.float64(estimator.means_), found)


def log_densities(X, means, covariances):
    """Return log N(x; mean, covariance) of what is known of each sample, for each component."""
    X = np.asarray(X, dtype=float)
    out = np.zeros((len(X), len(means)))
    known = ~np.isnan(X)
    for pattern in np.unique(known, axis=0):
        rows = (known == pattern).all(axis=1)
        if not pattern.any():
            continue
        for k, (mean, covariance) in enumerate(zip(means, covariances)):
            # About the mean, so that nothing is lost to an offset of the data.
            normal = multivariate_normal(cov=covariance[np.ix_(pattern, pattern)])
            out[rows, k] = normal.logpdf((X[rows] - mean)[:, pattern])
    return out


def expectation(X, mixture):
    """Return the log-likelihood of each sample and the responsibilities."""
    with np.errstate(divide="ignore"):
        joint = np.log(mixture.weights) + log_densities(X, mixture.means, mixture.covariances)
    likelihood = logsumexp(joint, axis=1)
    return likelihood, np.exp(joint - likelihood[:, None])


def completed(X, mean, covariance):
    """Return what is expected of each sample, and the covariance of what is missing of it."""
    values = np.array(X, dtype=float)
    spread = np.zeros((len(values), *covariance.shape))
    for i, row in enumerate(values):
        gaps = np.isnan(row)
        if not gaps.any():
            continue
        inner = covariance[np.ix_(~gaps, ~gaps)]
        gain = np.linalg.solve(inner, covariance[np.ix_(~gaps, gaps)]).T
        row[gaps] = mean[gaps] + gain @ (row[~gaps] - mean[~gaps])
        left = covariance[np.ix_(gaps, gaps)] - gain @ covariance[np.ix_(~gaps, gaps)]
        spread[i][np.ix_(gaps, gaps)] = left
    return values, spread


def moments(X, responsibilities, mixture=None):
    """Return counts, means and scatter matrices; a mixture tells what is missing."""
    X = np.asarray(X, dtype=float)
    n_components, n_features = responsibilities.shape[1], X.shape[1]
    counts = np.zeros(n_components)
    means = np.zeros((n_components, n_features))
    scatter = np.zeros((n_components, n_features, n_features))
    for k, shares in enumerate(responsibilities.T):
        values, spread = X, None
        if np.isnan(X).any():
            values, spread = completed(X, mixture.means[k], mixture.covariances[k])
        counts[k] = shares.sum()
        if counts[k] > 0:
            means[k] = shares @ values / counts[k]
        for i, share in enumerate(shares):
            step = values[i] - means[k]
            scatter[k] += share * np.outer(step, step)
            if spread is not None:
                scatter[k] += share * spread[i]
    return counts, means, scatter


def maximisation(counts, means, scatter, covariance_type, reg_covar):
    """Return the mixture that moments make most likely."""
    n_components, n_features = means.shape
    if covariance_type == "tied":
        covariances = np.repeat(scatter.sum(axis=0)[None] / counts.sum(), n_components, axis=0)
    else:
        covariances = scatter / counts[:, None, None]
    covariances = matrices(
        packed(covariances, covariance_type), covariance_type, n_components, n_features
    )
    covariances += reg_covar * np.eye(n_features)
    return Mixture(counts / counts.sum(), means, covariances)


def step(X, mixture, covariance_type, reg_covar=1e-6, sample_weight=None):
    """Return the mixture after one round of EM, and the mean log-likelihood before it."""
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    likelihood, shares = expectation(X, mixture)
    sums = moments(X, shares * weight[:, None], mixture)
    return maximisation(*sums, covariance_type, reg_covar), likelihood @ weight / weight.sum()


def run(X, mixture, covariance_type, n_iter, **options):
    """Return the mixture after rounds of EM, and the lower bound of each."""
    bounds = []
    for _ in range(n_iter):
        mixture, bound = step(X, mixture, covariance_type, **options)
        bounds.append(bound)
    return mixture, np.array(bounds)


def start(X, n_components, covariance_type, seed=0):
    """Return a mixture on some of the samples, with the covariance of all of them."""
    rng = np.random.default_rng(seed)
    X = np.asarray(X, dtype=float)
    whole = X[~np.isnan(X).any(axis=1)]
    means = whole[rng.choice(len(whole), n_components, replace=False)]
    covariance = np.atleast_2d(np.cov(whole.T, bias=True))
    covariance = covariance + 1e-3 * np.trace(covariance) / len(covariance) * np.eye(X.shape[1])
    scales = np.linspace(0.5, 1.0, n_components)
    if covariance_type == "tied":
        scales[:] = 1.0
    covariances = matrices(
        packed(scales[:, None, None] * covariance, covariance_type),
        covariance_type,
        n_components,
        X.shape[1],
    )
    weights = rng.uniform(0.5, 1.5, n_components)
    return Mixture(weights / weights.sum(), means, covariances)


def as_init(mixture, covariance_type):
    """Return a mixture as the parameters by which an estimator starts from it."""
    return {
        "n_components": len(mixture.weights),
        "covariance_type": covariance_type,
        "weights_init": mixture.weights,
        "means_init": mixture.means,
        "precisions_init": packed(np.linalg.inv(mixture.covariances), covariance_type)
        if covariance_type != "spherical"
        else 1.0 / packed(mixture.covariances, covariance_type),
    }


def samples(n_samples, n_components, n_features, seed=0, distance=3.0):
    """Return samples of a random mixture whose spreads are about one, and their components."""
    rng = np.random.default_rng(seed)
    means = distance * rng.normal(size=(n_components, n_features))
    labels = rng.integers(n_components, size=n_samples)
    shapes = np.eye(n_features) + 0.3 * rng.normal(size=(n_components, n_features, n_features))
    noise = rng.normal(size=(n_samples, n_features))
    return means[labels] + np.einsum("nij,nj->ni", shapes[labels], noise), labels


def add_statistics(passes, X, sample_weight, sums):
    """Add statistics to sums and return the log-likelihood that they added."""
    before = sums.log_likelihood
    passes.add_statistics(X, sample_weight, sums)
    return sums.log_likelihood - before
