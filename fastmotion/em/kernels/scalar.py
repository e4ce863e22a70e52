"""Formulae of Gaussian components, for CPU and CUDA kernels alike."""

import numpy as np

from fastmotion.core.compile import scalar

# Half of log 2π, which each feature takes from the log density of a normal distribution.
HALF_LOG_2_PI = np.float64(0.9189385332046727)

_LOG2_E = np.float64(1.4426950408889634)
# Adding and taking away 1.5 * 2**52 rounds to an integer, which then stands in the lowest bits.
_ROUND = np.float64(6755399441055744.0)
# ln 2 in two parts: the first has so few digits that its product with the exponent is exact.
_LN2_HIGH = np.float64(0.693145751953125)
_LN2_LOW = np.float64(1.42860682030941723212e-6)
_EXPONENT_BIAS = np.int64(1023)
_MANTISSA_BITS = np.int64(52)
_UNDERFLOW = np.float64(-708.0)
_ZERO = np.float64(0.0)

# 1 / n!, from n = 12 down to 2.
_C12 = np.float64(1 / 479001600)
_C11 = np.float64(1 / 39916800)
_C10 = np.float64(1 / 3628800)
_C9 = np.float64(1 / 362880)
_C8 = np.float64(1 / 40320)
_C7 = np.float64(1 / 5040)
_C6 = np.float64(1 / 720)
_C5 = np.float64(1 / 120)
_C4 = np.float64(1 / 24)
_C3 = np.float64(1 / 6)
_C2 = np.float64(1 / 2)
_ONE = np.float64(1)


@scalar
def exp_of_negative(x):
    """Return exp(x) for x <= 0 in float64, within three units in the last place; 0 below -708.

    Cody and Waite's reduction to [-ln 2 / 2, ln 2 / 2] and a Taylor polynomial. Unlike math.exp it
    is made of operations that compilers turn into vector instructions.
    """
    inside = max(x, _UNDERFLOW)
    shifted = inside * _LOG2_E + _ROUND
    n = shifted - _ROUND
    t = inside - n * _LN2_HIGH - n * _LN2_LOW
    p = _C12
    p = p * t + _C11
    p = p * t + _C10
    p = p * t + _C9
    p = p * t + _C8
    p = p * t + _C7
    p = p * t + _C6
    p = p * t + _C5
    p = p * t + _C4
    p = p * t + _C3
    p = p * t + _C2
    p = p * t + _ONE
    p = p * t + _ONE
    exponent = np.float64(shifted).view(np.int64) + _EXPONENT_BIAS
    power = np.int64(exponent << _MANTISSA_BITS).view(np.float64)
    return p * power if x >= _UNDERFLOW else _ZERO
