"""Files of flow, images and video.

Middlebury ``.flo`` files need NumPy alone. All else needs the extra ``io``, that is imageio and
PyAV, which are imported when they are first used.
"""

from fastmotion.io.flo import read_flo, write_flo
from fastmotion.io.flow_files import read_flow, write_flow
from fastmotion.io.images import read_image, write_image
from fastmotion.io.kitti import read_kitti_flow, write_kitti_flow
from fastmotion.io.video import VideoInfo, iter_video, video_info, write_video

__all__ = [
    "VideoInfo",
    "iter_video",
    "read_flo",
    "read_flow",
    "read_image",
    "read_kitti_flow",
    "video_info",
    "write_flo",
    "write_flow",
    "write_image",
    "write_kitti_flow",
    "write_video",
]
