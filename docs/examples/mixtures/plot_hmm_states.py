"""
How many states?
================

The likelihood of a hidden Markov model rises with every state that is added. Sequences that it has
not been fitted to tell how many are real, and so does a criterion that charges for parameters.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastmotion.datasets import make_hmm
from fastmotion.display import MixtureDisplay
from fastmotion.hmm import GaussianHMM

data = make_hmm(24, 150, n_states=4, separation=2.0, random_state=1)
sequences = np.split(data.X, np.cumsum(data.lengths)[:-1])
train, test = sequences[:12], sequences[12:]
n_train, n_test = sum(data.lengths[:12]), sum(data.lengths[12:])

# %%
# Baum-Welch finds a local maximum: several starts for each number of states, of which the best is
# kept. The default of ten iterations is too few to compare models.


def fit(n_states, n_starts=4):
    """Return the most probable of some fits."""
    fits = [
        GaussianHMM(n_states, covariance_type="full", n_iter=200, random_state=seed).fit(train)
        for seed in range(n_starts)
    ]
    return max(fits, key=lambda model: model.score(train))


def bic(model):
    """Return minus twice the log-likelihood plus a price for parameters (Schwarz 1978)."""
    k, d = model.n_components, model.n_features_in_
    n_parameters = k - 1 + k * (k - 1) + k * d + k * d * (d + 1) // 2
    return -2 * model.score(train) + n_parameters * np.log(n_train)


numbers = range(1, 9)
models = [fit(n) for n in numbers]
criteria = [bic(model) for model in models]
best = models[int(np.argmin(criteria))]
print(f"{best.n_components} states by the criterion; 4 made the sequences")

# %%
# On the left, the likelihood of frames that were seen still rises where that of others stands
# still.

figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.8), layout="constrained")
axes[0].plot(numbers, [m.score(train) / n_train for m in models], "o-", label="fitted to")
axes[0].plot(numbers, [m.score(test) / n_test for m in models], "s--", label="others")
axes[0].set(xlabel="states", ylabel="log-likelihood per frame")
axes[0].legend(title="sequences")
axes[1].plot(numbers, criteria, "o-")
axes[1].plot(best.n_components, min(criteria), "o", markersize=12, fillstyle="none", color="C3")
axes[1].set(xlabel="states", ylabel="BIC", title="least is best")
MixtureDisplay.from_estimator(best, train, ax=axes[2], max_points=2000)
plt.show()
