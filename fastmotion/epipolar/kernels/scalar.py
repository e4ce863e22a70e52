"""Formulas of the epipolar constraint, for CPU and CUDA kernels alike."""

from fastmotion.core.compile import scalar

# Degrees of freedom of a fundamental matrix: nine numbers, less their scale and the determinant.
N_FREE = 7


@scalar
def sampson_terms(f0, f1, f2, f3, f4, f5, f6, f7, f8, x1, y1, x2, y2):
    """Return the residual of the epipolar constraint and its gradient by x2, y2, x1 and y1.

    The Sampson distance is the residual's magnitude over that of the gradient (Hartley and
    Zisserman, "Multiple View Geometry", 2nd edition, equation 11.9).
    """
    a = f0 * x1 + f1 * y1 + f2
    b = f3 * x1 + f4 * y1 + f5
    c = f0 * x2 + f3 * y2 + f6
    d = f1 * x2 + f4 * y2 + f7
    return a * x2 + b * y2 + (f6 * x1 + f7 * y1 + f8), a, b, c, d


@scalar
def cofactors(f0, f1, f2, f3, f4, f5, f6, f7, f8):
    """Return the cofactors of a 3×3 matrix: the gradient of its determinant."""
    return (
        f4 * f8 - f5 * f7, f5 * f6 - f3 * f8, f3 * f7 - f4 * f6,
        f2 * f7 - f1 * f8, f0 * f8 - f2 * f6, f1 * f6 - f0 * f7,
        f1 * f5 - f2 * f4, f2 * f3 - f0 * f5, f0 * f4 - f1 * f3,
    )  # fmt: skip
