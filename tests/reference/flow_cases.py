"""Images and functionals that the tests of dense flow share."""

import numpy as np
from scipy import ndimage

from fastmotion.flow.kernels.functional import VariationalFunctional, WindowFunctional

# Far from zero and from each other, so that a term left out or taken twice is noticed.
QUADRATIC = VariationalFunctional(
    brightness=1.0,
    gradient=0.0,
    normalize=0.0,
    zeta2=1.0,
    gradient_zeta2=1.0,
    data_epsilon2=0.0,
    data_exponent=1.0,
    smoothness=4e-3,
    edge=0.0,
    smoothness_epsilon2=0.0,
    smoothness_exponent=1.0,
)
ROBUST = VariationalFunctional(
    brightness=0.3,
    gradient=0.7,
    normalize=1.0,
    zeta2=4e-3,
    gradient_zeta2=2e-4,
    data_epsilon2=2e-3,
    data_exponent=0.5,
    smoothness=0.3,
    edge=500.0,
    smoothness_epsilon2=1e-4,
    smoothness_exponent=0.5,
)
FUNCTIONALS = {
    "quadratic": QUADRATIC,
    "robust": ROBUST,
    "non-convex": ROBUST._replace(data_exponent=0.45, smoothness_exponent=0.4),
    "brightness alone": ROBUST._replace(brightness=1.0, gradient=0.0),
    "gradient alone": ROBUST._replace(brightness=0.0, gradient=1.0),
    "robust smoothness": QUADRATIC._replace(smoothness_exponent=0.5, smoothness_epsilon2=1e-3),
}
FUNCTIONALS = {
    name: VariationalFunctional(*map(np.float32, terms)) for name, terms in FUNCTIONALS.items()
}
WINDOW_FUNCTIONAL = WindowFunctional(
    gradient=np.float32(3.0),
    epsilon2=np.float32(1e-3),
    gradient_epsilon2=np.float32(1e-4),
    regularization=np.float32(1e-4),
    max_update=np.float32(0.8),
)


def texture(shape, seed=0, sigma=1.5):
    """Return smooth random texture in [0, 1], float32."""
    noise = np.random.default_rng(seed).random(shape)
    smooth = ndimage.gaussian_filter(noise, sigma, mode="wrap")
    smooth -= smooth.min()
    return np.float32(smooth / max(smooth.max(), 1e-9))


def texture_pair(shape, seed=0, step=(0.6, -0.4)):
    """Return a texture and the same one moved by ``step`` = (u, v) pixels, float32."""
    height, width = shape
    larger = np.float64(texture((height + 16, width + 16), seed))
    moved = ndimage.shift(larger, (step[1], step[0]), order=3, mode="wrap")
    frames = larger[8:-8, 8:-8], moved[8:-8, 8:-8]
    return tuple(np.ascontiguousarray(frame, np.float32) for frame in frames)


def random_flow(shape, magnitude, seed=0):
    """Return a smooth random flow of shape (2, height, width), its components up to a magnitude."""
    planes = [texture(shape, seed + k, sigma=3.0) for k in range(2)]
    return np.float32(magnitude) * (2 * np.stack(planes) - 1)
