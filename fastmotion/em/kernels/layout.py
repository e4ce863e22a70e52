"""How the sums over samples lie in one row of numbers, on every device.

First come HEAD parts of the log-likelihood, then the counts of the components, padded to an even
number; first moments, for as many components and the features padded to a multiple of four; and
second moments, of single features in the same way, or else a padded matrix for each component.
"""

__all__ = ["HEAD"]

# Blocks of threads, on a device, that share a chunk's log-likelihood.
HEAD = 4
