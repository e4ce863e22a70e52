"""Two-view geometry: fundamental matrices and homographies from matches, with uncertainty."""

from fastmotion.epipolar.distances import sampson_distance, symmetric_epipolar_distance
from fastmotion.epipolar.lines import epipolar_lines, epipolar_pencil, epipoles

__all__ = [
    "epipolar_lines",
    "epipolar_pencil",
    "epipoles",
    "sampson_distance",
    "symmetric_epipolar_distance",
]
