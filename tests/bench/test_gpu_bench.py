"""What surrounds the benchmarks on a GPU: the chip's ceilings, the skips, the report."""

import json

import pytest

from bench import gpu_driver
from bench.gpu_cases import COPY, MATRIX, OURS_CPU, OURS_GPU
from bench.gpu_ceilings import DRIVER, OUR_KERNEL
from bench.gpu_libraries import on_host
from bench.gpu_measure import measure_ceiling
from bench.gpu_report import best_rates, goals, print_report, share_of_ceiling
from bench.gpu_sizes import CASES, SECONDS, ceilings, size_of_run

CEILINGS = [
    pytest.param(ceiling, method, id=f"{ceiling.name}-{method}")
    for ceiling in ceilings("tiny")
    for method in ceiling.methods
    if method not in (OUR_KERNEL, DRIVER)
]


@pytest.mark.parametrize(("ceiling", "method"), CEILINGS)
def test_ceilings_are_measured_by_libraries(ceiling, method, benchmark):
    try:
        measure_ceiling(benchmark, ceiling, method, on_host)
    except ImportError as error:
        pytest.skip(f"{method}: {error}")
    assert benchmark.extra_info["ceiling"] == ceiling.name


def test_rates_count_what_is_moved_and_computed():
    copy, single, double = ceilings("full")
    assert copy.rate(1.0) == pytest.approx(2 * 2**31 / 1e9)
    assert single.rate(2.0) == double.rate(2.0) == pytest.approx(8192**3 / 1e12)
    assert (copy.name, single.name) == (COPY, MATRIX)


@pytest.mark.parametrize("size", ["full", "quick"])
def test_every_family_is_measured_and_has_its_time(size):
    assert {case.family for case in CASES[size]} == set(SECONDS) - {"ceilings"}
    for case in CASES[size]:
        assert case.methods[:2] == (OURS_CPU, OURS_GPU)
        assert case.work.n_bytes > 0
        assert case.work.flops > 0 or case.work.bound == COPY


def test_size_of_run_is_one_of_those_known(monkeypatch):
    monkeypatch.setenv("FASTMOTION_GPU_BENCH", "huge")
    with pytest.raises(ValueError, match="must be one of.*'huge'"):
        size_of_run()


# --- Without a GPU


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setattr(gpu_driver, "_DRIVERS", ("lib-that-is-not-there.so",))


def test_missing_driver_is_told(no_driver, monkeypatch, capsys):
    assert "driver" in gpu_driver.why_no_gpu()
    monkeypatch.setattr("sys.argv", ["gpu_driver"])
    assert gpu_driver.main() == 1
    assert capsys.readouterr().out.startswith("no CUDA device: ")


def test_files_are_named_after_the_device():
    gpu = gpu_driver.Gpu("NVIDIA H200 (SXM)", "9.0", 132, 139.0, "580.1", "13.0")
    assert gpu.file_name == "nvidia_h200_sxm"


def test_benchmarks_are_skipped_with_the_reason(run_python, tmp_path):
    if gpu_driver.why_no_gpu() is None:
        pytest.skip("this machine has a GPU")
    out = run_python(
        f"""
import sys, pytest
sys.exit(pytest.main(["bench/test_gpu_bench.py", "-q", "-rs", "--benchmark-enable",
    "--benchmark-json={tmp_path / "gpu.json"}", "-o", "cache_dir={tmp_path}"]))
"""
    )
    assert "no CUDA device: " in out
    assert "skipped" in out
    assert "passed" not in out
    assert "failed" not in out


NO_PEERS = """
import sys

class NoPeers:
    def find_spec(self, name, path=None, target=None):
        if name in ("cv2", "torch", "cupy", "kornia", "hmmlearn", "poselib", "daal4py"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoPeers())
import pytest
sys.exit(pytest.main(["bench", "-k", "gpu", "--collect-only", "-q", "-o", "cache_dir=CACHE"]))
"""


def test_benchmarks_are_found_where_no_peer_is_installed(run_python, tmp_path):
    out = run_python(NO_PEERS.replace("CACHE", str(tmp_path)))
    assert "test_gpu_bench.py::test_case" in out
    assert "error" not in out.lower()


# --- The report


def record(method, seconds, place="device", **changes):
    return {
        "family": "a family",
        "case": "a case",
        "method": method,
        "input": place,
        "seconds": seconds,
        "scaled_by": 1.0,
        "formula": "bytes: 4 N",
        "n_bytes": 3e9,
        "flops": 0.0,
        "bound": COPY,
        **changes,
    }


COPIES = [
    {"ceiling": COPY, "method": "one", "unit": "GB/s", "rate": 3000.0},
    {"ceiling": COPY, "method": "another", "unit": "GB/s", "rate": 4000.0},
    {"ceiling": MATRIX, "method": "one", "unit": "TFLOP/s", "rate": 50.0},
]


def test_shares_are_of_the_best_rate():
    rates = best_rates(COPIES)
    assert rates == {COPY: 4e12, MATRIX: 5e13}
    assert share_of_ceiling(record(OURS_GPU, 1e-3), rates) == pytest.approx(0.75)
    products = record(OURS_GPU, 0.5, bound=MATRIX, flops=5e12)
    assert share_of_ceiling(products, rates) == pytest.approx(0.2)
    assert share_of_ceiling(record(OURS_CPU, 1e-3, "host"), rates) is None
    assert share_of_ceiling(products, {}) is None


def test_goals_are_for_data_on_the_device():
    rates = best_rates(COPIES)
    records = [
        record(OURS_CPU, 0.03, "host"),
        record(OURS_GPU, 1e-3),
        record(OURS_GPU, 1.0, "host"),
        record("torch", 1.0),
    ]
    share, speed_up = goals(records, rates)
    assert (share.figure, share.bound) == (pytest.approx(0.75), 0.6)
    assert (speed_up.figure, speed_up.bound) == (pytest.approx(30.0), 20.0)
    assert share.is_met
    assert speed_up.is_met


def test_report_of_a_run_says_what_was_scaled(capsys):
    records = [
        *COPIES,
        record(OURS_CPU, 0.01, "host", scaled_by=10.0),
        record(OURS_GPU, 1e-3),
    ]
    data = {
        "datetime": "2000-01-01",
        "machine_info": {"fastmotion": {"torch": "not installed"}, "gpu": {"GPU, name": "a chip"}},
        "benchmarks": [{"group": "GPU, x", "extra_info": r} for r in records]
        + [{"group": "import", "extra_info": {}}],
    }
    assert print_report(json.loads(json.dumps(data))) == 1
    out = capsys.readouterr().out
    assert "GPU, name: a chip" in out
    assert "torch" not in out
    assert f"| a case | {OURS_CPU} | host | 10* | 1 |" in out
    assert f"| a case | {OURS_GPU} | device | 1 | 10 | 3e+03 | – | 75% |" in out
    assert f"- a case, {OURS_CPU}: timed on 1/10 of the data and multiplied" in out
    assert "1 of 2 goals met" in out
