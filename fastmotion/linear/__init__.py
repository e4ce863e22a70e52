"""Least squares from mergeable sums: accumulate, combine, constrain, solve, refine."""

from fastmotion.linear._normal_equations import NormalEquations
from fastmotion.linear._quadratic import solve_quadratic

__all__ = ["NormalEquations", "solve_quadratic"]
