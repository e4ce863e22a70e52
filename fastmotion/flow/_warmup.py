"""What `fastmotion.warmup` runs to compile the kernels of dense flow."""

import numpy as np

from fastmotion.core.compile import register_warmup
from fastmotion.flow._horn_schunck import horn_schunck
from fastmotion.flow._lucas_kanade import lucas_kanade

_FRAME = np.zeros((32, 32), np.uint8)


def _warm_up_horn_schunck() -> None:
    horn_schunck(_FRAME, _FRAME, weighted_median=True)


def _warm_up_lucas_kanade() -> None:
    lucas_kanade(_FRAME, _FRAME, return_confidence=True)


register_warmup("flow", _warm_up_horn_schunck)
register_warmup("flow", _warm_up_lucas_kanade)
