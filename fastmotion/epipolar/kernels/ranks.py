"""Squared distances of a rank: what least medians of squares are made of."""

import math

import numpy as np


def least_of_rank(squares_of, models, rank):
    """Return the least squared distance of a rank, over models, and the number of the model.

    Parameters
    ----------
    squares_of : callable
        Returns the squared distances of matches from a model.
    models : sequence
    rank : int
        Counted from 0.

    Returns
    -------
    least : float
        Infinity if no model has a finite one.
    which : int
        The first that has it.
    """
    least, which = math.inf, 0
    for k, model in enumerate(models):
        squares = squares_of(model)
        # To count takes less time than to partition.
        if np.count_nonzero(squares < least) > rank:
            least, which = float(np.partition(squares, rank)[rank]), k
    return least, which
