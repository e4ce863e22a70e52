"""Video files through estimators, in constant memory, and the motion of the camera."""

from fastmotion.video.camera import (
    CameraCompensation,
    CameraMotion,
    CompensatedFlow,
    camera_motion,
    homography_flow,
)
from fastmotion.video.streaming import ClipResult, stream
from fastmotion.video.table import motion_table

__all__ = [
    "CameraCompensation",
    "CameraMotion",
    "ClipResult",
    "CompensatedFlow",
    "camera_motion",
    "homography_flow",
    "motion_table",
    "stream",
]
