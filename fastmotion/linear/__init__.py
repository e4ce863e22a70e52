"""Least squares from mergeable sums: accumulate, combine, constrain, solve, refine."""

from fastmotion.linear._least_squares import LeastSquares
from fastmotion.linear._normal_equations import NormalEquations
from fastmotion.linear._quadratic import solve_quadratic

__all__ = ["LeastSquares", "NormalEquations", "solve_quadratic"]
