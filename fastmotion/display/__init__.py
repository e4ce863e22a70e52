"""Pictures of flow and of motion kernels.

`flow_to_color` and `color_wheel` are NumPy alone. `FlowDisplay`, `plot_flow_comparison` and
`KernelDisplay` need the extra ``plot``, that is matplotlib, which is imported when they draw.
"""

from fastmotion.display.color import color_wheel, flow_to_color
from fastmotion.display.comparison import plot_flow_comparison
from fastmotion.display.flow_display import FlowDisplay
from fastmotion.display.kernel_display import KernelDisplay

__all__ = ["FlowDisplay", "KernelDisplay", "color_wheel", "flow_to_color", "plot_flow_comparison"]
