"""Pictures of flow, motion kernels, mixtures, how they were fitted, and epipolar lines.

`flow_to_color` and `color_wheel` are NumPy alone. `FlowDisplay`, `plot_flow_comparison`,
`KernelDisplay`, `MixtureDisplay`, `ConvergenceDisplay` and `EpipolarDisplay` need the extra
``plot``, that is matplotlib, which is imported when they draw.
"""

from fastmotion.display.color import color_wheel, flow_to_color
from fastmotion.display.comparison import plot_flow_comparison
from fastmotion.display.convergence_display import ConvergenceDisplay
from fastmotion.display.epipolar_display import EpipolarDisplay
from fastmotion.display.flow_display import FlowDisplay
from fastmotion.display.kernel_display import KernelDisplay
from fastmotion.display.mixture_display import MixtureDisplay

__all__ = [
    "ConvergenceDisplay",
    "EpipolarDisplay",
    "FlowDisplay",
    "KernelDisplay",
    "MixtureDisplay",
    "color_wheel",
    "flow_to_color",
    "plot_flow_comparison",
]
