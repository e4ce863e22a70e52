"""Kernels that know no algorithm: setting, copying, converting and checking arrays, and sums."""
