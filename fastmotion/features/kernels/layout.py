"""What the kernels and who calls them know of each other's arrays."""

# Bins that a thread of a CUDA device has room for.
MOST_ORIENTATIONS = 64
