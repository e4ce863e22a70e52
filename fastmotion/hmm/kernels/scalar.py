"""Formulae of the recursions of hidden Markov models, for CPU and CUDA kernels alike.

Probabilities of states are scaled frame by frame, so that long sequences do not underflow. Within a
frame what is beyond all proportion to the rest is given up, which bounds the backward recursion;
where transitions are forbidden, that may be all that is left later, and such sequences are left to
the log domain.
"""

import math

import numpy as np

from fastmotion.core.compile import scalar

# Probabilities below this are taken for zero, which bounds the backward recursion by its inverse.
NEGLIGIBLE = np.float64(1e-200)
# A frame that is less probable than this, given those before, is left to the log domain; and where
# no transition is less probable, nothing that was given up comes back.
LEAST_SCALE = np.float64(1e-100)
# A state that is predicted with at least this probability cannot be changed by what was neglected,
# as long as that amounts to no more than the second number.
WELL_PREDICTED = np.float64(1e-150)
MOST_NEGLECTED = np.float64(1e-170)

ZERO = np.float64(0.0)
ONE = np.float64(1.0)


@scalar
def weigh(density, predicted, share):
    """Return the probability of a state and its frame; `predicted` is still to be scaled."""
    return density * (predicted * share)


@scalar
def without_negligible(probability):
    """Return a probability, or 0 where it is out of all proportion to others."""
    return probability if probability >= NEGLIGIBLE else ZERO


@scalar
def is_lost(scale):
    """Return whether a frame is too improbable, or not a number."""
    return not scale >= LEAST_SCALE


@scalar
def add_scale(log_likelihood, product, scale):
    """Return the log-likelihood, and the product of the scales that it has not taken in yet.

    Of many scales at once, as far as their product reaches, the logarithm is taken.
    """
    product *= scale
    if product < LEAST_SCALE:
        log_likelihood += math.log(product)
        product = ONE
    return log_likelihood, product


@scalar
def relative(value, largest):
    """Return a logarithm less the largest of its frame."""
    return value - largest if largest > -np.inf else value


@scalar
def unpredicted(density, predicted, share):
    """Return the density of a frame in a state if hardly anything leads there, else 0."""
    return density if predicted * share < WELL_PREDICTED else ZERO


@scalar
def neglect(neglected, growth, n_states):
    """Return a bound on what was given up so far, relative to the rest, after one more frame.

    It grows at most by `growth`, the largest of the `unpredicted` densities over the scale, while
    it is in states that cannot be reached otherwise; elsewhere it does not matter.
    """
    return neglected * growth + n_states * NEGLIGIBLE


@scalar
def later_of(alpha, beta, density):
    """Return what the frame before needs of a state.

    A state that no path reaches may explain the frames to come beyond all bounds.
    """
    later = density * beta
    return later if alpha > ZERO else ZERO


@scalar
def occupation(alpha, beta, share):
    """Return the probability of a state given all frames."""
    return alpha * beta * share


@scalar
def path_probability(log_alpha, log_transition, log_after, log_total):
    """Return the probability of the paths through a transition, from logarithms."""
    return math.exp(log_alpha + log_transition + log_after - log_total)
