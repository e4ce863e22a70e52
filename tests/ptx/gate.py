"""The gate for CUDA kernels that needs no device: compile them, and count what must not be there.

``python -m tests.ptx.gate`` prints the table for all kernels of the package, and with names of
modules for those below them.
"""

import importlib
import multiprocessing
import os
import pkgutil
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import fastmotion
from fastmotion.core.compile import CudaKernel, registered_kernels, simulator_enabled

ARCHITECTURES = ((7, 5), (8, 0), (9, 0), (10, 0))


@dataclass(frozen=True)
class Report:
    """What one kernel became, for one signature and one compute capability.

    Attributes
    ----------
    kernel, types, arch : str
    registers : int
        Of one thread.
    spill_stores, spill_loads : int
        Bytes of registers that were put into memory.
    shared : int
        Bytes of static shared memory of a block.
    float64 : int
        Float64 instructions, declarations included.
    is_float32 : bool
        Whether no argument is float64.
    spills : str or None
        Why the kernel may spill.
    """

    kernel: str
    types: str
    arch: str
    registers: int
    spill_stores: int
    spill_loads: int
    shared: int
    float64: int
    is_float32: bool
    spills: str | None

    def faults(self):
        """Return what is wrong, as a list of sentences."""
        found = []
        if self.float64 and self.is_float32:
            found.append(f"{self.kernel} has {self.float64} float64 instructions ({self.arch})")
        if (self.spill_stores or self.spill_loads) and not self.spills:
            found.append(
                f"{self.kernel} spills {self.spill_stores} bytes and loads {self.spill_loads} "
                f"({self.arch})"
            )
        return found


def unavailable_reason():
    """Return why kernels cannot be compiled here, or None if they can."""
    if simulator_enabled():
        return "the CUDA simulator compiles nothing; unset NUMBA_ENABLE_CUDASIM"
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    try:
        from cuda.bindings import nvjitlink

        nvjitlink.version()
    except (ImportError, OSError, RuntimeError) as error:
        return f"nvjitlink is not installed ({error})"
    return None


def package_kernels():
    """Return all CUDA kernels of the package."""
    for module in pkgutil.walk_packages(fastmotion.__path__, "fastmotion."):
        if re.search(r"\.kernels\.cuda\w*$", module.name):
            importlib.import_module(module.name)
    return [
        kernel
        for name, kernel in registered_kernels().items()
        if isinstance(kernel, CudaKernel) and name.startswith("fastmotion.")
    ]


def inspect(kernel, architectures=ARCHITECTURES):
    """Return the reports of a kernel for all its signatures."""
    if not kernel.signatures:
        raise ValueError(f"{kernel.name} has no signatures; give it those it is launched with")
    return [
        _inspect(kernel, signature, cc, ptx)
        for signature in kernel.signatures
        for cc, ptx in zip(architectures, kernel.compile_ptx(signature, architectures))
    ]


def inspect_all(names):
    """Return the reports of kernels of the package, by several processes."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(4, os.cpu_count()), context) as pool:
        return [report for reports in pool.map(_inspect_named, names) for report in reports]


def _inspect_named(name):
    importlib.import_module(name.rpartition(".")[0])
    return inspect(registered_kernels()[name])


def _inspect(kernel, signature, cc, ptx):
    arch = f"sm_{cc[0]}{cc[1]}"
    log = _link(ptx, arch, kernel.max_registers)
    return Report(
        kernel=kernel.name,
        types=_short(signature),
        arch=arch,
        registers=_number(r"\bused (\d+) registers", log),
        spill_stores=_number(r"(\d+) bytes spill stores", log),
        spill_loads=_number(r"(\d+) bytes spill loads", log),
        shared=_number(r"(\d+) bytes smem", log, default=0),
        float64=len(re.findall(r"\.f64\b", ptx)),
        is_float32="float64" not in str(signature),
        spills=kernel.spills,
    )


def _short(signature):
    """Return what the arrays are made of."""
    found = re.findall(r"[Aa]rray\((\w+)", str(signature))
    return "+".join(sorted(set(found)))


def _link(ptx, arch, max_registers):
    """Link PTX to a cubin and return the linker's log."""
    from cuda.bindings import nvjitlink

    options = [f"-arch={arch}", "-verbose"]
    if max_registers is not None:
        options.append(f"-maxrregcount={max_registers}")
    linker = nvjitlink.create(len(options), options)
    try:
        code = ptx.encode()
        nvjitlink.add_data(linker, nvjitlink.InputType.PTX, code, len(code), "kernel")
        nvjitlink.complete(linker)
        if not nvjitlink.get_linked_cubin_size(linker):
            raise RuntimeError("the linker made no cubin")
        log = bytearray(nvjitlink.get_info_log_size(linker))
        nvjitlink.get_info_log(linker, log)
        return log.decode()
    finally:
        nvjitlink.destroy(linker)


def _number(pattern, log, default=None):
    """Return the number of the one line that has it; a log in other words must not pass."""
    found = re.findall(pattern, log)
    if not found and default is not None:
        return default
    if len(found) != 1:
        raise ValueError(f"expected one match of {pattern!r}, got {found} in\n{log}")
    return int(found[0])


def table(reports):
    """Return reports as text, a line for each kernel and its types."""
    archs = [f"sm_{major}{minor}" for major, minor in ARCHITECTURES]
    lines = [f"{'kernel':<52} {'types':<16} registers ({', '.join(archs)})  spilled  shared  .f64"]
    for (name, types), group in groupby(reports, lambda r: (r.kernel, r.types)):
        rows = list(group)
        registers = ", ".join(str(r.registers) for r in rows)
        spilled = max(r.spill_stores + r.spill_loads for r in rows)
        shared, float64 = (max(getattr(r, n) for r in rows) for n in ("shared", "float64"))
        lines.append(
            f"{name.removeprefix('fastmotion.'):<52} {types:<16} {registers:<33}  {spilled:>7}"
            f"  {shared:>6}  {float64:>4}"
        )
    lines += [f"spills of {name}: {why}" for name, why in _declared(reports)]
    return "\n".join(lines)


def _declared(reports):
    return sorted({(r.kernel, r.spills) for r in reports if r.spills})


if __name__ == "__main__":
    wanted = tuple(sys.argv[1:]) or ("fastmotion",)
    reports = inspect_all([k.name for k in package_kernels() if k.name.startswith(wanted)])
    sys.stdout.write(table(reports) + "\n")
    raise SystemExit("\n".join(fault for report in reports for fault in report.faults()) or 0)
