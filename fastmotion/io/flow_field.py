"""The check that all writers of flow share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["as_flow_field"]


def as_flow_field(flow: ArrayLike) -> NDArray:
    """Return `flow` as an array, or raise if it is not one non-empty field of real vectors.

    Unlike the flows that estimators take, a stored flow may hold NaN: an unknown pixel.
    """
    field = np.asarray(flow)
    if field.dtype.kind not in "fiu":
        raise TypeError(f"flow must hold real numbers, got dtype {field.dtype}.")
    if field.ndim != 3 or field.shape[-1] != 2 or field.size == 0:
        raise ValueError(
            f"flow must have shape (height, width, 2) with u and v along the last axis, "
            f"got {field.shape}."
        )
    return field
