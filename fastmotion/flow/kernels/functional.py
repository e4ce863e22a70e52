"""The parameters of the functionals, as the kernels of every device take them."""

from typing import NamedTuple, TypeVar

import numpy as np

Functional = TypeVar("Functional", bound="VariationalFunctional | WindowFunctional")


def in_float32(kind: type[Functional], **values: float) -> Functional:
    """Return a functional of the given kind and values, as the kernels need them."""
    return kind(**{name: np.float32(value) for name, value in values.items()})


class VariationalFunctional(NamedTuple):
    """Weights and penalties of the Horn-Schunck functional; intensities in [0, 1], flow in pixels.

    Attributes
    ----------
    brightness, gradient : float32
        Weights of brightness constancy and gradient constancy.
    normalize : float32
        1 divides residuals by the gradient's size, 0 does not.
    zeta2, gradient_zeta2 : float32
        Added to the squared gradient (of the intensity, of a gradient component) before residuals
        are divided by it.
    data_epsilon2, data_exponent : float32
        The penalty ``(s^2 + epsilon^2)^exponent`` of the data term; exponent 1 is quadratic.
    smoothness : float32
        Weight of the smoothness term.
    edge : float32
        How fast the weight falls with the squared difference of neighbouring pixels.
    smoothness_epsilon2, smoothness_exponent : float32
        The penalty of the smoothness term.
    """

    brightness: np.float32
    gradient: np.float32
    normalize: np.float32
    zeta2: np.float32
    gradient_zeta2: np.float32
    data_epsilon2: np.float32
    data_exponent: np.float32
    smoothness: np.float32
    edge: np.float32
    smoothness_epsilon2: np.float32
    smoothness_exponent: np.float32


class WindowFunctional(NamedTuple):
    """Weights and penalties of Lucas-Kanade's windows; intensities in [0, 1], flow in pixels.

    Attributes
    ----------
    gradient : float32
        Weight of gradient constancy; that of brightness constancy is 1.
    epsilon2, gradient_epsilon2 : float32
        The squared residual, of the intensity and of its gradient, from which a pixel's weight
        falls.
    regularization : float32
        Added to the diagonal of the normal equations.
    max_update : float32
        Largest change of a component in one iteration, in pixels.
    """

    gradient: np.float32
    epsilon2: np.float32
    gradient_epsilon2: np.float32
    regularization: np.float32
    max_update: np.float32
