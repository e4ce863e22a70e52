"""Errors of an estimated flow against the truth.

Both measures leave out the pixels whose truth is unknown, by the convention of the public data
sets: a vector with a NaN, or with a component above 1e9 in size.
"""

from fastmotion.metrics.flow import angular_error, endpoint_error, known_pixels

__all__ = ["angular_error", "endpoint_error", "known_pixels"]
