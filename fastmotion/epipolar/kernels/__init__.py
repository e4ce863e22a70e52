"""The compiled kernels of two-view geometry."""
