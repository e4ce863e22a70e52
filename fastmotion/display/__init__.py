"""Pictures of flow.

`flow_to_color` and `color_wheel` are NumPy alone. `FlowDisplay` and `plot_flow_comparison` need
the extra ``plot``, that is matplotlib, which is imported when they draw.
"""

from fastmotion.display.color import color_wheel, flow_to_color
from fastmotion.display.comparison import plot_flow_comparison
from fastmotion.display.flow_display import FlowDisplay

__all__ = ["FlowDisplay", "color_wheel", "flow_to_color", "plot_flow_comparison"]
