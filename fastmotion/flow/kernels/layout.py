"""Which plane or row of the kernels' arrays holds what, on every device."""

# Pixels that a padded row or tile carries beyond either end: the reach of a derivative.
PAD = 2

# Derivatives of an image pair: of the mean of both frames, then of their difference.
DX, DY, DT, DXX, DXY, DYY, DXT, DYT = range(8)
N_DERIVATIVES = 8

# The normal equations ``[[A11, A12], [A12, A22]] flow = [B1, B2]``.
A11, A12, A22, B1, B2 = range(5)
N_EQUATIONS = 5

# The red-black system: the unknowns, each pixel's inverse matrix and right-hand side, the weights
# of the edges to its right and below it.
U, V, I11, I12, I22, SYSTEM_B1, SYSTEM_B2, W_RIGHT, W_BELOW = range(9)
N_SYSTEM = 9
