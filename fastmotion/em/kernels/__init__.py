"""The compiled kernels of Gaussian components."""
