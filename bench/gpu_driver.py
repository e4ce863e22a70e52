"""The CUDA device of this machine, asked of NVIDIA's driver; needs Python's standard library only.

    python -m bench.gpu_driver [--file-name]

Prints what the driver says of the first device, or with --file-name a name for files that hold its
figures. Where there is none, it prints the reason and exits with 1: `make gpu-test` and `make
gpu-bench` ask before they install anything.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import sys
from dataclasses import asdict, dataclass

_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
_MANAGEMENT = ("libnvidia-ml.so.1", "nvml.dll")

# CUdevice_attribute of the driver's interface.
_MAJOR, _MINOR, _MULTIPROCESSORS = 75, 76, 16
_LENGTH = 256


class NoDeviceError(Exception):
    """There is no CUDA device; the message says why."""


@dataclass(frozen=True)
class Gpu:
    """A CUDA device and its driver."""

    name: str
    compute_capability: str
    multiprocessors: int
    memory_gib: float
    driver: str
    """Version of NVIDIA's driver."""
    cuda: str
    """Newest version of CUDA that the driver knows."""

    @property
    def file_name(self) -> str:
        """Its name in lower case, underscores for all but letters and digits."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")


def find_gpu() -> Gpu:
    """Return the first device that this process may see.

    Raises
    ------
    NoDeviceError
        There is no driver, or no device.
    """
    driver = _load(_DRIVERS)
    if driver is None:
        raise NoDeviceError(f"NVIDIA's driver ({_DRIVERS[0]}) is not installed on this machine")
    status = driver.cuInit(0)
    if status:
        raise NoDeviceError(f"NVIDIA's driver finds no device (cuInit returns {status})")
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(_LENGTH), ctypes.c_size_t()
    if driver.cuDeviceGet(ctypes.byref(device), 0):
        raise NoDeviceError("NVIDIA's driver lists no device; is CUDA_VISIBLE_DEVICES empty?")
    driver.cuDeviceGetName(name, _LENGTH, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    cuda = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(cuda))

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return value.value

    return Gpu(
        name=name.value.decode(),
        compute_capability=f"{attribute(_MAJOR)}.{attribute(_MINOR)}",
        multiprocessors=attribute(_MULTIPROCESSORS),
        memory_gib=round(memory.value / 2**30, 1),
        driver=_driver_version(),
        cuda=f"{cuda.value // 1000}.{cuda.value % 1000 // 10}",
    )


def why_no_gpu() -> str | None:
    """Return why there is no device, or None if there is one."""
    try:
        find_gpu()
    except NoDeviceError as reason:
        return str(reason)
    return None


def _driver_version() -> str:
    management = _load(_MANAGEMENT)
    if management is None or management.nvmlInit_v2():
        return "unknown"
    text = ctypes.create_string_buffer(_LENGTH)
    management.nvmlSystemGetDriverVersion(text, _LENGTH)
    management.nvmlShutdown()
    return text.value.decode() or "unknown"


def _load(names: tuple[str, ...]) -> ctypes.CDLL | None:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file-name", action="store_true", help="print a name for files only")
    arguments = parser.parse_args()
    try:
        gpu = find_gpu()
    except NoDeviceError as reason:
        print(f"no CUDA device: {reason}")
        return 1
    if arguments.file_name:
        print(gpu.file_name)
    else:
        print("\n".join(f"{key}: {value}" for key, value in asdict(gpu).items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
