"""Expectation-maximisation: what Gaussian mixtures and hidden Markov models have in common.

`driver` holds the algorithm, which knows no model; `gaussians` the parameters of Gaussian
components and their mergeable sums; `passes` runs both over data in blocks, through the compiled
code in `kernels`; `seeding` finds starting points, `missing` completes rows with missing values.
"""
