"""Two-view geometry: fundamental matrices and homographies from matches, with uncertainty."""

from fastmotion.epipolar import _warmup as _warmup
from fastmotion.epipolar._fundamental import FundamentalMatrix
from fastmotion.epipolar._homography import Homography
from fastmotion.epipolar.bands import (
    EpipolarBand,
    epipolar_band,
    epipole_covariance,
    line_covariance,
)
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
from fastmotion.epipolar.estimation import design_rank, eight_point, seven_point
from fastmotion.epipolar.lines import epipolar_lines, epipolar_pencil, epipoles
from fastmotion.epipolar.outcomes import DegenerateMatchesWarning, FailedFit
from fastmotion.epipolar.planes import (
    homography_from_points,
    planar_sampson_distance,
    transfer_covariance,
    transfer_distance,
    transform_points,
)
from fastmotion.epipolar.polishing import PolishedFundamental, polish_fundamental
from fastmotion.epipolar.rectification import (
    Rectification,
    RectifiedCameras,
    rectify,
    rectify_cameras,
)
from fastmotion.epipolar.uncertainty import fundamental_covariance

__all__ = [
    "DegenerateMatchesWarning",
    "EpipolarBand",
    "FailedFit",
    "FundamentalMatrix",
    "Homography",
    "PolishedFundamental",
    "Rectification",
    "RectifiedCameras",
    "RelativePose",
    "design_rank",
    "eight_point",
    "epipolar_band",
    "epipolar_lines",
    "epipolar_pencil",
    "epipole_covariance",
    "epipoles",
    "essential_from_fundamental",
    "fundamental_covariance",
    "fundamental_from_cameras",
    "fundamental_from_projections",
    "homography_from_points",
    "line_covariance",
    "planar_sampson_distance",
    "polish_fundamental",
    "projections_from_cameras",
    "recover_pose",
    "rectify",
    "rectify_cameras",
    "sampson_distance",
    "seven_point",
    "symmetric_epipolar_distance",
    "transfer_covariance",
    "transfer_distance",
    "transform_points",
    "triangulate",
]
