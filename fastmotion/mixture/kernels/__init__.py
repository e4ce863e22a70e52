"""The compiled kernels of mixtures."""
