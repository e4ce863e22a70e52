"""Log densities of Gaussian components on a CUDA device.

Scratch of densities and responsibilities lies component by component, (n_components, n_samples):
neighbouring threads work on neighbouring samples.

A block of threads takes a tile of samples, one column for each of PER_LANE samples of a lane, and
goes through the components; its warps take rows of the whitening matrices (or components, where
features are independent), so that a number read from shared memory serves a warp and one read of
the parameters PER_LANE samples.
"""

import numpy as np
from numba import cuda, float32, float64, int64, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import block_size

__all__ = ["densities_diag", "densities_full", "transpose"]

LANES = block_size(32, 4)
WARPS = block_size(8, 2)
# Samples of a lane, and whitening rows of a warp, whose products are in registers at once.
PER_LANE = 4
ROWS = 4
# Components of a warp at once, where features are independent.
PAIR = 2

_SAMPLES = LANES * PER_LANE
_FEATURES = WARPS * ROWS
_THREADS = LANES * WARPS
_PRODUCTS = ROWS * PER_LANE
_SQUARES = PAIR * PER_LANE
# Rows of shared memory are this much longer than the tile: columns then lie in different banks.
_PADDED = _SAMPLES + 1
# Side of the squares in which arrays are turned over.
_TURN = LANES
_TURN_PADDED = _TURN + 1
# Blocks that keep the largest devices busy: with fewer tiles of samples, components are spread too.
_MANY_BLOCKS = 1024

_HALF = np.float32(0.5)  # exact in either dtype

# Dtypes of the data and of the work.
DTYPES = ((float32, float32), (float32, float64), (float64, float64))


@cuda_function
def _load_tile(X, n, centre, first_sample, first_feature, x):
    """Set the rows of x to features of a tile of samples, less the centre; 0 beyond the data."""
    n_columns = min(X.shape[1] - first_feature, _FEATURES)
    thread = cuda.threadIdx.x + LANES * cuda.threadIdx.y
    # Threads run along the data as they lie, without a division for each number.
    s = thread // n_columns
    j = thread % n_columns
    down = _THREADS // n_columns
    along = _THREADS % n_columns
    while s < _SAMPLES:
        value = x.dtype.type(0)
        if first_sample + s < n:
            value = X[first_sample + s, first_feature + j] - centre[first_feature + j]
        x[j, s] = value
        s += down
        j += along
        if j >= n_columns:
            j -= n_columns
            s += 1
    # The parameters are padded to a multiple of ROWS features.
    for j in range(n_columns, min(n_columns + ROWS, _FEATURES)):
        for s in range(thread, _SAMPLES, _THREADS):
            x[j, s] = 0


@cuda_function
def _add_whitened(x, lane, mean, factor, row, first_feature, n_columns, y):
    """Add products of ROWS rows of a factor with columns of the tile, less the mean, to y."""
    d = cuda.local.array(PER_LANE, x.dtype)
    for j in range(n_columns):
        m = mean[first_feature + j]
        for c in range(PER_LANE):
            d[c] = x[j, lane + c * LANES] - m
        for r in range(ROWS):
            a = factor[row + r, first_feature + j]
            for c in range(PER_LANE):
                y[r * PER_LANE + c] += a * d[c]


_FULL = [
    void(data[:, ::1], int64, work[::1], work[:, ::1], work[:, :, ::1], work[::1], work[:, ::1])
    for data, work in DTYPES
]


@cuda_kernel(
    signatures=tuple(_FULL),
    max_registers=128,  # two blocks on a multiprocessor
    spills="bounds of the outer loops, most of them in float64; the products stay in registers",
)
def _write_densities_full(X, n, centre, means, factors, constants, log_p):
    """Write the log densities of a tile of samples under components of any covariance.

    The rows of the whitening matrices of several small components, or a part of those of a large
    one, make a tile of WARPS times ROWS. A triangle's zeros are skipped, tile by tile and warp by
    warp.
    """
    x = cuda.shared.array((_FEATURES, _PADDED), means.dtype)
    parts = cuda.shared.array((WARPS, _SAMPLES), means.dtype)
    y = cuda.local.array(_PRODUCTS, means.dtype)
    squares = cuda.local.array(PER_LANE, means.dtype)
    lane = cuda.threadIdx.x
    warp = cuda.threadIdx.y
    first_sample = cuda.blockIdx.x * _SAMPLES
    n_components, width = means.shape
    n_warps = min(width // ROWS, WARPS)  # of a component
    n_together = WARPS // n_warps
    member = warp // n_warps
    own_row = (warp % n_warps) * ROWS
    n_tiles = (width + _FEATURES - 1) // _FEATURES
    is_loaded = False
    for first in range(cuda.blockIdx.y * n_together, n_components, cuda.gridDim.y * n_together):
        k = first + member
        is_used = member < n_together and k < n_components
        for c in range(PER_LANE):
            squares[c] = 0
        for row_tile in range(n_tiles):
            row = row_tile * _FEATURES + own_row
            for i in range(_PRODUCTS):
                y[i] = 0
            for column_tile in range(row_tile + 1):
                first_feature = column_tile * _FEATURES
                if not is_loaded:
                    cuda.syncthreads()
                    _load_tile(X, n, centre, first_sample, first_feature, x)
                    cuda.syncthreads()
                    is_loaded = n_tiles == 1
                if is_used and row < width:
                    n_columns = min(row + ROWS - first_feature, _FEATURES)
                    _add_whitened(x, lane, means[k], factors[k], row, first_feature, n_columns, y)
            for i in range(ROWS):
                for c in range(PER_LANE):
                    squares[c] += y[i * PER_LANE + c] * y[i * PER_LANE + c]
        for c in range(PER_LANE):
            parts[warp, lane + c * LANES] = squares[c]
        cuda.syncthreads()
        if is_used and own_row == 0:
            for c in range(PER_LANE):
                s = lane + c * LANES
                total = parts[warp, s]
                for other in range(1, n_warps):
                    total += parts[warp + other, s]
                if first_sample + s < n:
                    log_p[k, first_sample + s] = constants[k] - _HALF * total
        cuda.syncthreads()


_DIAG = [
    void(data[:, ::1], int64, work[::1], work[:, ::1], work[:, ::1], work[::1], work[:, ::1])
    for data, work in DTYPES
]


@cuda_kernel(signatures=tuple(_DIAG), max_registers=128)
def _write_densities_diag(X, n, centre, scaled_means, inverse_deviations, constants, log_p):
    """Write the log densities of a tile of samples under components of independent features."""
    x = cuda.shared.array((_FEATURES, _PADDED), scaled_means.dtype)
    squares = cuda.local.array(_SQUARES, scaled_means.dtype)
    lane = cuda.threadIdx.x
    first_sample = cuda.blockIdx.x * _SAMPLES
    n_features = X.shape[1]
    n_components = len(constants)
    is_loaded = False
    n_together = WARPS * PAIR
    for first in range(cuda.blockIdx.y * n_together, n_components, cuda.gridDim.y * n_together):
        k0 = first + cuda.threadIdx.y * PAIR
        for i in range(_SQUARES):
            squares[i] = 0
        for first_feature in range(0, n_features, _FEATURES):
            if not is_loaded:
                cuda.syncthreads()
                _load_tile(X, n, centre, first_sample, first_feature, x)
                cuda.syncthreads()
                is_loaded = n_features <= _FEATURES
            for j in range(min(n_features - first_feature, _FEATURES)):
                for t in range(PAIR):
                    k = min(k0 + t, n_components - 1)  # a warp to spare repeats the last one
                    m = scaled_means[k, first_feature + j]
                    a = inverse_deviations[k, first_feature + j]
                    for c in range(PER_LANE):
                        z = x[j, lane + c * LANES] * a - m
                        squares[t * PER_LANE + c] += z * z
        for t in range(PAIR):
            if k0 + t < n_components:
                for c in range(PER_LANE):
                    s = first_sample + lane + c * LANES
                    if s < n:
                        log_p[k0 + t, s] = constants[k0 + t] - _HALF * squares[t * PER_LANE + c]


def densities_full(X, centre, means, factors, constants, log_p):
    """Set log densities under components of any covariance.

    Parameters
    ----------
    X : device array of shape (n, n_features)
    centre, means, factors, constants : device arrays
        As of `fastmotion.em.kernels.cpu.statistics_full`, all of the dtype of the work.
    log_p : device array of shape (n_components, at least n)
    """
    n_components, width = means.shape
    n_together = WARPS // min(width // ROWS, WARPS)
    grid = _grid(len(X), -(-n_components // n_together))
    _write_densities_full[grid, (LANES, WARPS)](X, len(X), centre, means, factors, constants, log_p)


def densities_diag(X, centre, scaled_means, inverse_deviations, constants, log_p):
    """As `densities_full`, for independent features: parameters as of ``statistics_diag``."""
    grid = _grid(len(X), -(-len(constants) // (WARPS * PAIR)))
    _write_densities_diag[grid, (LANES, WARPS)](
        X, len(X), centre, scaled_means, inverse_deviations, constants, log_p
    )


def _grid(n_samples, n_turns):
    """Return blocks along samples and along the turns in which a block takes components."""
    n_tiles = max(1, -(-n_samples // _SAMPLES))
    return n_tiles, min(n_turns, -(-_MANY_BLOCKS // n_tiles))


_TRANSPOSED = [
    void(source[:, ::1], int64, target[:, ::1])
    for source in (float32, float64)
    for target in (float32, float64)
]


@cuda_kernel(signatures=tuple(_TRANSPOSED))
def _transpose_to_rows(source, n, out):
    tile = cuda.shared.array((_TURN, _TURN_PADDED), out.dtype)
    lane = cuda.threadIdx.x
    n_rows = source.shape[0]
    n_tiles = (n + _TURN - 1) // _TURN
    first_row = cuda.blockIdx.x // n_tiles * _TURN
    first_column = cuda.blockIdx.x % n_tiles * _TURN
    for i in range(cuda.threadIdx.y, _TURN, WARPS):
        if first_row + i < n_rows and first_column + lane < n:
            tile[i, lane] = source[first_row + i, first_column + lane]
    cuda.syncthreads()
    for j in range(cuda.threadIdx.y, _TURN, WARPS):
        column = first_column + j
        if first_row + lane < n_rows and column < n:
            out[column, first_row + lane] = tile[lane, j]


def transpose(source, n, out):
    """Copy the first n columns of a device array to the first rows of another, in its dtype.

    Parameters
    ----------
    source : device array of shape (m, at least n)
    n : int
    out : device array of shape (at least n, at least m)
    """
    grid = max(1, -(-n // _TURN) * -(-source.shape[0] // _TURN))
    _transpose_to_rows[grid, (LANES, WARPS)](source, n, out)
