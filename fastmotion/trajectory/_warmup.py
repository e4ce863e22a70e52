"""What `fastmotion.warmup` runs to compile the kernels of trajectories."""

import numpy as np

from fastmotion.core.compile import register_warmup
from fastmotion.core.device import resolve_device
from fastmotion.trajectory.filtering import Taps, apply_kernels
from fastmotion.trajectory.lags import channel_groups, collect_lags
from fastmotion.trajectory.sequences import check_sequences

# float32 and float64 are compiled apart.
_POSES = [check_sequences(np.zeros((1, 8, 1, 1), dtype)) for dtype in (np.float32, np.float64)]
_CPU = resolve_device("cpu")


def _warm_up_lag_statistics() -> None:
    for sequences in _POSES:
        collect_lags(sequences, channel_groups("all", 1, 1), 2, 0, device=_CPU)


def _warm_up_filters() -> None:
    taps = Taps(np.array([-1, 0]), np.array([[-1.0, 1.0]]))
    for sequences in _POSES:
        apply_kernels(sequences, [taps], edges="nearest", min_valid=1.0, device=_CPU)


register_warmup("trajectory", _warm_up_lag_statistics)
register_warmup("trajectory", _warm_up_filters)
