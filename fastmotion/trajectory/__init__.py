"""Temporal kernels over joint trajectories."""

__all__: list[str] = []
