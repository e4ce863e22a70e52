"""PNG with three channels of 16 bits, which Pillow reduces to 8 bits and cannot write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.validation import import_optional

__all__ = ["is_deep_colour", "read_deep_colour", "write_deep_colour"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BIT_DEPTH, _COLOUR_TYPE = 24, 25  # offsets in the file: IHDR is always the first chunk
_RGB, _RGBA = 2, 6


def is_deep_colour(path: Path) -> bool:
    """Tell whether `path` is a PNG file with RGB or RGBA pixels of 16 bits a channel."""
    with path.open("rb") as file:
        head = file.read(_COLOUR_TYPE + 1)
    return (
        head.startswith(_SIGNATURE)
        and len(head) > _COLOUR_TYPE
        and head[_BIT_DEPTH] == 16
        and head[_COLOUR_TYPE] in (_RGB, _RGBA)
    )


def read_deep_colour(path: Path) -> NDArray[np.uint16]:
    """Decode a 16-bit RGB or RGBA file to ``(height, width, 3 or 4)``, values unchanged."""
    av = import_optional("av", extra="io", purpose="reading 16-bit colour PNG files")
    decoder = av.CodecContext.create("png", "r")
    # Without these, a damaged file gives a picture with made-up rows instead of an error.
    decoder.options = {"err_detect": "crccheck+explode"}
    try:
        frames = decoder.decode(av.Packet(path.read_bytes())) + decoder.decode(None)
    except av.FFmpegError as error:
        raise ValueError(f"{path} is a damaged PNG file: {error.strerror}.") from error
    if len(frames) != 1:
        raise ValueError(f"{path} is a damaged PNG file: it holds no whole picture.")
    return frames[0].to_ndarray()


def write_deep_colour(path: Path, pixels: NDArray[np.uint16]) -> None:
    """Write ``(height, width, 3)`` uint16 values as they are."""
    av = import_optional("av", extra="io", purpose="writing 16-bit colour PNG files")
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width = pixels.shape[:2]
    encoder.pix_fmt = "rgb48be"
    encoder.time_base = 1  # the encoder insists on one, a still picture has no use for it
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb48be")
    packets = encoder.encode(frame) + encoder.encode(None)
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
