"""Weighted moments of samples on a CUDA device.

A block of threads sums over one chunk of samples for one tile of a result: products of TILE rows by
TILE columns, four by four to a thread, from shared memory. Chunks are fixed and their sums are
added in order, so results depend neither on how the device is scheduled nor on how many samples a
launch is given.
"""

from numba import cuda, float32, float64, int64, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import block_size, launch_shape
from fastmotion.core.kernels.cuda import block_sum
from fastmotion.em.kernels.cuda_densities import DTYPES
from fastmotion.em.kernels.layout import HEAD

__all__ = ["CHUNK", "merge", "moments_diag", "moments_full", "n_chunks"]

# Samples that are summed apart: few enough that sums in float32 keep their digits.
CHUNK = block_size(2048, 32)

_THREADS = block_size(256, 4)
_TILE = block_size(32, 8)
_SIDE = 4
_PRODUCTS = _SIDE * _SIDE
# Numbers of a tile in shared memory, and one more for each row: rows then begin in other banks.
_NUMBERS = block_size(2048, 64)
_PADDED = _NUMBERS + _TILE
_TWO_TILES = 2 * _PADDED
# Samples of a tile of the fewest rows.
_MOST_SAMPLES = _NUMBERS // _SIDE


@cuda_function
def _place(n_rows, n_columns):
    """Return what a thread sums in a tile: its rows, its columns, the first sample and the step.

    Rows and columns count in fours. Threads that are left over begin beyond all samples.
    """
    thread = cuda.threadIdx.x
    high = (n_rows + _SIDE - 1) // _SIDE
    n_places = high * ((n_columns + _SIDE - 1) // _SIDE)
    n_groups = _THREADS // n_places
    group = thread // n_places
    place = thread % n_places
    return place % high, place // high, group if group < n_groups else CHUNK, n_groups


@cuda_function
def _samples_at_once(n_rows, n_columns):
    """Return how many samples fill a tile of the longer side, padded to fours."""
    longer = (max(n_rows, n_columns) + _SIDE - 1) // _SIDE
    return _NUMBERS // (longer * _SIDE)


@cuda_function
def _load_features(X, centre, mean, is_square, first_feature, n_rows, start, n, stride, tile):
    """Set rows of a tile to features of n samples less the mean, or to their squares.

    Beyond the last feature rows are 0.
    """
    thread = cuda.threadIdx.x
    n_columns = min(X.shape[1] - first_feature, n_rows)
    # Threads run along the data as they lie, without a division for each number.
    s = thread // n_columns
    j = thread % n_columns
    down = _THREADS // n_columns
    along = _THREADS % n_columns
    while s < n:
        feature = first_feature + j
        value = X[start + s, feature] - centre[feature] - mean[feature]
        if value != value:
            value = tile.dtype.type(0)  # of an incomplete row, whose weight is 0 here
        tile[j * stride + s] = value * value if is_square else value
        s += down
        j += along
        if j >= n_columns:
            j -= n_columns
            s += 1
    for j in range(n_columns, n_rows):
        for s in range(thread, n, _THREADS):
            tile[j * stride + s] = 0


@cuda_function
def _load_rows(r, first_row, n_rows, start, n, stride, tile):
    """Set rows of a tile to those of responsibilities; to 0 up to the next multiple of four."""
    for i in range((n_rows + _SIDE - 1) // _SIDE * _SIDE):
        for s in range(cuda.threadIdx.x, n, _THREADS):
            tile[i * stride + s] = r[first_row + i, start + s] if i < n_rows else 0


@cuda_function
def _add_products(tiles, offset, stride, weights, n, place, u, v, products, sums):
    """Add weighted products of the rows of two tiles, and sums of the first, over samples.

    The tile of columns lies at the beginning of ``tiles``, that of rows at ``offset``.
    """
    i, j, first, step = place
    for s in range(first, n, step):
        w = weights[s]
        for e in range(_SIDE):
            u[e] = w * tiles[offset + (i * _SIDE + e) * stride + s]
            v[e] = tiles[(j * _SIDE + e) * stride + s]
        for e in range(_SIDE):
            for f in range(_SIDE):
                products[e * _SIDE + f] += u[e] * v[f]
        if j == 0:
            for e in range(_SIDE):
                sums[e] += u[e]


@cuda_function
def _sum_groups(values, n, n_rows, n_columns, scratch):
    """Add up, in the threads of the first group, what the groups have summed."""
    thread = cuda.threadIdx.x
    n_places = ((n_rows + _SIDE - 1) // _SIDE) * ((n_columns + _SIDE - 1) // _SIDE)
    for e in range(n):
        scratch[e * _THREADS + thread] = values[e]
    cuda.syncthreads()
    if thread < n_places:
        for e in range(n):
            for other in range(1, _THREADS // n_places):
                values[e] += scratch[e * _THREADS + thread + other * n_places]
    cuda.syncthreads()


# Registers are limited so that a multiprocessor takes two blocks.
_SPILLS = "in float64, places in memory that are used once for a tile; the sums stay in registers"

_FULL = [
    void(data[:, ::1], int64, work[::1], work[:, ::1], work[:, ::1], work[:, ::1])
    for data, work in DTYPES
]


@cuda_kernel(signatures=tuple(_FULL), max_registers=128, spills=_SPILLS)
def _sum_full(X, n, centre, means, r, partial):
    """Sum the moments about the means over a chunk, for a component and a tile of its matrix."""
    tiles = cuda.shared.array(_TWO_TILES, means.dtype)
    weights = cuda.shared.array(_MOST_SAMPLES, means.dtype)
    products = cuda.local.array(_PRODUCTS, means.dtype)
    sums = cuda.local.array(_SIDE, means.dtype)
    u = cuda.local.array(_SIDE, means.dtype)
    v = cuda.local.array(_SIDE, means.dtype)
    thread = cuda.threadIdx.x
    chunk = cuda.blockIdx.x
    k = cuda.blockIdx.y
    n_components, width = means.shape
    row_tile = 0
    while (row_tile + 1) * (row_tile + 2) // 2 <= cuda.blockIdx.z:
        row_tile += 1
    first_row = row_tile * _TILE
    first_column = (cuda.blockIdx.z - row_tile * (row_tile + 1) // 2) * _TILE
    n_rows = min(width - first_row, _TILE)
    n_columns = min(width - first_column, _TILE)
    # On the diagonal one tile is that of rows and of columns.
    n_sides = 1 if first_row == first_column else 2
    offset = (n_sides - 1) * _PADDED
    place = _place(n_rows, n_columns)
    at_once = _samples_at_once(n_rows, n_columns)
    stride = at_once + 1
    for e in range(_PRODUCTS):
        products[e] = 0
    for e in range(_SIDE):
        sums[e] = 0
    count = means.dtype.type(0)
    stop = min((chunk + 1) * CHUNK, n)
    for start in range(chunk * CHUNK, stop, at_once):
        m = min(at_once, stop - start)
        for s in range(thread, m, _THREADS):
            weights[s] = r[k, start + s]
            count += weights[s]
        for side in range(n_sides):
            first = first_row if side else first_column
            length = n_rows if side else n_columns
            tile = tiles[side * _PADDED :]
            _load_features(X, centre, means[k], False, first, length, start, m, stride, tile)
        cuda.syncthreads()
        _add_products(tiles, offset, stride, weights, m, place, u, v, products, sums)
        cuda.syncthreads()
    _sum_groups(products, _PRODUCTS, n_rows, n_columns, tiles)
    _sum_groups(sums, _SIDE, n_rows, n_columns, tiles)
    count = block_sum(count, tiles)
    firsts = HEAD + n_components + n_components % 2
    seconds = firsts + (firsts - HEAD) * width
    i, j, group, _ = place
    if group == 0:
        for e in range(_SIDE):
            row = first_row + i * _SIDE + e
            at = seconds + (k * width + row) * width + first_column + j * _SIDE
            for f in range(_SIDE):
                partial[chunk, at + f] = products[e * _SIDE + f]
            if first_column + j == 0:
                partial[chunk, firsts + k * width + row] = sums[e]
    if cuda.blockIdx.z == 0 and thread == 0:
        partial[chunk, HEAD + k] = count


_DIAG = [
    void(data[:, ::1], int64, work[::1], work[::1], int64, work[:, ::1], work[:, ::1])
    for data, work in DTYPES
]


@cuda_kernel(signatures=tuple(_DIAG), max_registers=128, spills=_SPILLS)
def _sum_diag(X, n, centre, zeros, n_components, r, partial):
    """Sum features, or their squares, about the centre over a chunk, for a tile of components.

    Blocks of even z sum features, those of odd z their squares. ``zeros`` are as many as there are
    features, padded.
    """
    tiles = cuda.shared.array(_TWO_TILES, centre.dtype)
    weights = cuda.shared.array(_MOST_SAMPLES, centre.dtype)
    products = cuda.local.array(_PRODUCTS, centre.dtype)
    sums = cuda.local.array(_SIDE, centre.dtype)
    u = cuda.local.array(_SIDE, centre.dtype)
    v = cuda.local.array(_SIDE, centre.dtype)
    thread = cuda.threadIdx.x
    chunk = cuda.blockIdx.x
    width = len(zeros)
    first_row = cuda.blockIdx.y * _TILE
    first_column = (cuda.blockIdx.z // 2) * _TILE
    is_square = cuda.blockIdx.z % 2
    n_rows = min(n_components - first_row, _TILE)
    n_columns = min(width - first_column, _TILE)
    place = _place(n_rows, n_columns)
    at_once = _samples_at_once(n_rows, n_columns)
    stride = at_once + 1
    for e in range(_PRODUCTS):
        products[e] = 0
    for e in range(_SIDE):
        sums[e] = 0
    for s in range(thread, _MOST_SAMPLES, _THREADS):
        weights[s] = 1
    stop = min((chunk + 1) * CHUNK, n)
    for start in range(chunk * CHUNK, stop, at_once):
        m = min(at_once, stop - start)
        _load_features(
            X, centre, zeros, is_square, first_column, n_columns, start, m, stride, tiles
        )
        _load_rows(r, first_row, n_rows, start, m, stride, tiles[_PADDED:])
        cuda.syncthreads()
        _add_products(tiles, _PADDED, stride, weights, m, place, u, v, products, sums)
        cuda.syncthreads()
    _sum_groups(products, _PRODUCTS, n_rows, n_columns, tiles)
    _sum_groups(sums, _SIDE, n_rows, n_columns, tiles)
    n_padded = n_components + n_components % 2
    at = HEAD + n_padded + is_square * n_padded * width + first_column
    i, j, group, _ = place
    if group == 0:
        for e in range(_SIDE):
            k = first_row + i * _SIDE + e
            if k < n_components:
                for f in range(_SIDE):
                    partial[chunk, at + k * width + j * _SIDE + f] = products[e * _SIDE + f]
                if cuda.blockIdx.z == 0 and j == 0:
                    partial[chunk, HEAD + k] = sums[e]


@cuda_kernel(
    signatures=tuple(void(work[:, ::1], int64, float64[::1], int64) for work in (float32, float64))
)
def _merge(partial, n, sums, first):
    i = first + cuda.grid(1)
    if i < sums.size:
        total = sums[i]
        for row in range(n):
            total += partial[row, i]
        sums[i] = total


def moments_full(X, centre, means, r, partial):
    """Set the sums of chunks of samples: counts, and first and second moments about the means.

    Parameters
    ----------
    X : device array of shape (n, n_features)
    centre, means : device arrays
        As of `fastmotion.em.kernels.cpu.statistics_full`, of the dtype of the work.
    r : device array of shape (n_components, at least n)
        Responsibilities times weights.
    partial : device array of shape (at least n_chunks, n_sums)
        The moments, as `fastmotion.em.kernels.layout` has them, of each chunk; second moments in
        tiles of their lower triangles.
    """
    n_components, width = means.shape
    n_tiles = -(-width // _TILE)
    grid = (n_chunks(len(X)), n_components, n_tiles * (n_tiles + 1) // 2)
    _sum_full[grid, _THREADS](X, len(X), centre, means, r, partial)


def moments_diag(X, centre, zeros, n_components, r, partial):
    """As `moments_full`, for the features and their squares about the centre."""
    grid = (n_chunks(len(X)), -(-n_components // _TILE), 2 * -(-len(zeros) // _TILE))
    _sum_diag[grid, _THREADS](X, len(X), centre, zeros, n_components, r, partial)


def merge(partial, n, sums, first):
    """Add the first n rows of a device array, in order, to sums from a first one on.

    Parameters
    ----------
    partial : device array of shape (at least n, n_sums)
    n : int
    sums : float64 device array of shape (n_sums,)
    first : int
    """
    _merge[launch_shape((sums.size - first,))](partial, n, sums, first)


def n_chunks(n_samples):
    """Return in how many chunks so many samples are summed."""
    return -(-n_samples // CHUNK)
