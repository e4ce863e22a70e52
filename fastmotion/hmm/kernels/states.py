"""Loops over the states of one frame, for CPU and CUDA kernels alike."""

import math

import numpy as np

from fastmotion.core.compile import cpu_function


@cpu_function
def largest_of(values):
    """Return the largest of some numbers."""
    largest = -np.inf
    for i in range(len(values)):
        largest = values[i] if values[i] > largest else largest
    return largest


@cpu_function
def first_largest(values):
    """Return where the first of the largest numbers stands."""
    best = 0
    for i in range(len(values)):
        if values[i] > values[best]:
            best = i
    return best


@cpu_function
def last_largest_sum(x, y):
    """Return where the last of the largest sums of two numbers stands."""
    # The last of equal ones, as hmmlearn takes it. What is larger cannot be foretold, so that a
    # branch at each comparison would cost more than to look for the largest value first.
    n = len(x)
    whole = n - n % 4
    m0 = m1 = m2 = m3 = -np.inf
    for i in range(0, whole, 4):
        m0 = max(m0, x[i] + y[i])
        m1 = max(m1, x[i + 1] + y[i + 1])
        m2 = max(m2, x[i + 2] + y[i + 2])
        m3 = max(m3, x[i + 3] + y[i + 3])
    for i in range(whole, n):
        m0 = max(m0, x[i] + y[i])
    largest = max(max(m0, m1), max(m2, m3))
    best = n - 1
    while best > 0 and x[best] + y[best] < largest:
        best -= 1
    return best


@cpu_function
def log_sum_exp(values):
    """Return the logarithm of the sum of ``exp(values)``."""
    largest = largest_of(values)
    if largest == -np.inf:
        return largest
    total = 0.0
    for i in range(len(values)):
        total += math.exp(values[i] - largest)
    return largest + math.log(total)


@cpu_function
def log_mix(x, y):
    """Return the logarithm of the sum of ``exp(x + y)``."""
    largest = -np.inf
    for i in range(len(x)):
        value = x[i] + y[i]
        largest = value if value > largest else largest
    if largest == -np.inf:
        return largest
    total = 0.0
    for i in range(len(x)):
        total += math.exp(x[i] + y[i] - largest)
    return largest + math.log(total)
