"""Two-view geometry: fundamental matrices and homographies from matches, with uncertainty."""

from fastmotion.epipolar.cameras import (
    RelativePose,
    essential_from_fundamental,
    fundamental_from_cameras,
    fundamental_from_projections,
    projections_from_cameras,
    recover_pose,
    triangulate,
)
from fastmotion.epipolar.distances import sampson_distance, symmetric_epipolar_distance
from fastmotion.epipolar.lines import epipolar_lines, epipolar_pencil, epipoles

__all__ = [
    "RelativePose",
    "epipolar_lines",
    "epipolar_pencil",
    "epipoles",
    "essential_from_fundamental",
    "fundamental_from_cameras",
    "fundamental_from_projections",
    "projections_from_cameras",
    "recover_pose",
    "sampson_distance",
    "symmetric_epipolar_distance",
    "triangulate",
]
