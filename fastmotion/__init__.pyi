from collections.abc import Iterable

from fastmotion import datasets as datasets
from fastmotion import display as display
from fastmotion import epipolar as epipolar
from fastmotion import features as features
from fastmotion import flow as flow
from fastmotion import hmm as hmm
from fastmotion import io as io
from fastmotion import linear as linear
from fastmotion import metrics as metrics
from fastmotion import mixture as mixture
from fastmotion import trajectory as trajectory
from fastmotion import video as video
from fastmotion.core.config import config_context as config_context
from fastmotion.core.config import get_config as get_config
from fastmotion.core.config import set_config as set_config
from fastmotion.core.info import show_versions as show_versions
from fastmotion.core.memory import free_memory as free_memory

__version__: str

def warmup(
    families: str | Iterable[str] | None = None, *, device: str = "cpu"
) -> dict[str, float]: ...
