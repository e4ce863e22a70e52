import numpy as np
import pytest

from fastmotion.core import random as fr

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


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS)
@pytest.mark.parametrize("philox", [fr.philox, fr.philox.py_func], ids=["compiled", "plain Python"])
def test_known_answers(philox, counter, key, output):
    assert reference_philox(counter, key) == output
    assert tuple(map(int, philox(*map(np.uint64, counter + key)))) == output


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
def draw(words):
    i = cuda.grid(1)
    if i < len(words):
        n, zero = np.uint64(i), np.uint64(0)
        words[i] = fr.philox(n, zero, np.uint64(3), zero, np.uint64(2**32 - 1), n)

words = np.empty((20, 4), np.uint64)
grid, block = launch_shape(words.shape[:1])
draw[grid, block](words)
print(*words.ravel().tolist())
""",
        NUMBA_ENABLE_CUDASIM="1",
    ).split()
    wanted = [word for i in range(20) for word in reference_philox((i, 0, 3, 0), (2**32 - 1, i))]
    assert list(map(int, out)) == wanted


@pytest.mark.ptx
def test_generator_compiles_for_cuda(run_python):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    out = run_python(
        """
import numpy as np
from numba import cuda
from fastmotion.core.compile import cuda_kernel
from fastmotion.core.random import philox

@cuda_kernel
def draw(seed, bits):
    i = cuda.grid(1)
    if i < bits.size:
        n, zero = np.uint64(i), np.uint64(0)
        bits[i] = philox(n, zero, zero, zero, seed, zero)[0]

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
