"""Pictures of flow, of motion kernels, of mixtures and of how they were fitted.

`flow_to_color` and `color_wheel` are NumPy alone. `FlowDisplay`, `plot_flow_comparison`,
`KernelDisplay`, `MixtureDisplay` and `ConvergenceDisplay` need the extra ``plot``, that is
matplotlib, which is imported when they draw.
"""

from fastmotion.display.color import color_wheel, flow_to_color
from fastmotion.display.comparison import plot_flow_comparison
from fastmotion.display.convergence_display import ConvergenceDisplay
from fastmotion.display.flow_display import FlowDisplay
from fastmotion.display.kernel_display import KernelDisplay
from fastmotion.display.mixture_display import MixtureDisplay

__all__ = [
    "ConvergenceDisplay",
    "FlowDisplay",
    "KernelDisplay",
    "MixtureDisplay",
    "color_wheel",
    "flow_to_color",
    "plot_flow_comparison",
]
