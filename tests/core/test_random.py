import numpy as np
import pytest

from fastmotion.core import random as fr
from fastmotion.core.compile import cpu_kernel, prange
from fastmotion.core.device import thread_limit

# Counter, key and output: the known answers that Random123 publishes for philox4x32 with 10 rounds.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def reference_philox(counter, key):
    """Return the four output words, by integers of unlimited size."""
    left, right = list(counter[::2]), list(counter[1::2])
    multipliers, weyl = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
    for round_ in range(10):
        keys = [(k + round_ * w) % 2**32 for k, w in zip(key, weyl)]
        high, low = zip(*(divmod(m * x, 2**32) for m, x in zip(multipliers, left)))
        left = [high[1] ^ right[0] ^ keys[0], high[0] ^ right[1] ^ keys[1]]
        right = [low[1], low[0]]
    return left[0], right[0], left[1], right[1]


def reference_bits(seed, stream, index):
    counter = (index % 2**32, index >> 32, stream % 2**32, stream >> 32)
    low, high, _, _ = reference_philox(counter, (seed % 2**32, seed >> 32))
    return high * 2**32 + low


@cpu_kernel(parallel=True)
def draw(seed, stream, bits):
    for i in prange(bits.size):
        bits[i] = fr.draw_bits(seed, stream, np.uint64(i))


def draws(seed, stream, size):
    bits = np.empty(size, np.uint64)
    draw(np.uint64(seed), np.uint64(stream), bits)
    return bits


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS)
@pytest.mark.parametrize("philox", [fr.philox, fr.philox.py_func], ids=["compiled", "plain Python"])
def test_known_answers(philox, counter, key, output):
    assert reference_philox(counter, key) == output
    assert tuple(map(int, philox(*map(np.uint64, counter + key)))) == output


def test_draws_equal_the_reference_with_every_number_of_threads():
    seed, stream = 0x0123456789ABCDEF, 2**63 + 5
    wanted = [reference_bits(seed, stream, i) for i in range(101)]
    for n_threads in 1, 2:
        with thread_limit(n_threads):
            assert draws(seed, stream, 101).tolist() == wanted


def test_draws_are_even_and_streams_and_seeds_differ():
    size = 100_000
    uniform = draws(1, 2, size) / 2.0**64
    # Six standard deviations.
    assert abs(uniform.mean() - 0.5) < 6 * np.sqrt(1 / 12 / size)
    counts, _ = np.histogram(uniform, 10, (0, 1))
    assert np.abs(counts - size / 10).max() < 6 * np.sqrt(size * 0.09)
    for other in (draws(1, 3, size), draws(2, 2, size)):
        assert abs(np.corrcoef(uniform, other / 2.0**64)[0, 1]) < 6 / np.sqrt(size)


@pytest.mark.cudasim
def test_simulated_device_draws_what_the_cpu_draws(run_python):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    out = run_python(
        """
import numpy as np
from numba import cuda
from fastmotion.core import random as fr
from fastmotion.core.compile import cuda_kernel
from fastmotion.core.device import launch_shape

@cuda_kernel
def draw(seed, bits):
    i = cuda.grid(1)
    if i < bits.size:
        bits[i] = fr.draw_bits(seed, np.uint64(3), np.uint64(i))

bits = np.empty(20, np.uint64)
grid, block = launch_shape(bits.shape)
draw[grid, block](np.uint64(2**64 - 1), bits)
print(*bits.tolist())
""",
        NUMBA_ENABLE_CUDASIM="1",
    ).split()
    assert out == [*map(str, draws(2**64 - 1, 3, 20).tolist())]


@pytest.mark.ptx
def test_generator_compiles_for_cuda(run_python):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    out = run_python(
        """
import numpy as np
from numba import cuda
from fastmotion.core.compile import cuda_kernel
from fastmotion.core.random import draw_bits

@cuda_kernel
def draw(seed, bits):
    i = cuda.grid(1)
    if i < bits.size:
        bits[i] = draw_bits(seed, np.uint64(3), np.uint64(i))

ptx = draw.compile_ptx("void(uint64, uint64[::1])", [(8, 0)])[0]
print(".entry" in ptx, ".f64" in ptx)
""",
        NUMBA_ENABLE_CUDASIM=None,
    )
    assert out.split() == ["True", "False"]


def test_seed_of_a_random_state():
    assert fr.new_seed(0) == fr.new_seed(np.int32(0))
    assert fr.new_seed(np.random.RandomState(0)) == fr.new_seed(np.random.RandomState(0))
    assert fr.new_seed(0) != fr.new_seed(1)
    assert fr.new_seed(None) != fr.new_seed(None)
    assert isinstance(fr.new_seed(0), np.uint64)
    for generator in np.random.RandomState(0), np.random.default_rng(0):
        assert fr.new_seed(generator) != fr.new_seed(generator)
    with pytest.raises(ValueError, match="cannot be used to seed"):
        fr.new_seed("seed")
