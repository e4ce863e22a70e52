import logging
import re

import pytest

import fastmotion
from fastmotion.core import compile as fc


def test_version_is_that_of_the_distribution():
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("fastmotion")
    except PackageNotFoundError:
        pytest.skip("fastmotion runs from its source folder, without being installed")
    assert fastmotion.__version__ == installed


def test_every_public_name_exists_and_is_listed():
    for name in fastmotion.__all__:
        assert getattr(fastmotion, name) is getattr(fastmotion, name)
        assert name in dir(fastmotion)
    assert fastmotion.flow.__name__ == "fastmotion.flow"


def test_stub_names_what_the_package_offers():
    from pathlib import Path

    stub = Path(fastmotion.__file__).with_suffix(".pyi").read_text()
    names = {*re.findall(r" as (\w+)$", stub, re.M), *re.findall(r"^def (\w+)", stub, re.M)}
    names |= set(re.findall(r"^(\w+): ", stub, re.M))
    assert names == set(fastmotion.__all__)
    assert Path(fastmotion.__file__).with_name("py.typed").exists()


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fastmotion' has no attribute 'flows'"):
        _ = fastmotion.flows


def test_show_versions_names_packages_threads_cache_and_cuda(capsys):
    fastmotion.show_versions()
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["fastmotion"] == fastmotion.__version__
    assert {"python", "numpy", "scipy", "scikit-learn", "numba", "numba-cuda"} <= set(lines)
    assert re.fullmatch(r"\d+ \((omp|tbb|workqueue)\)", lines["threads"])
    assert lines["CUDA"].startswith(("available", "not available: "))
    assert lines["cache"]
    assert lines["CPU"]


def test_show_versions_says_when_the_cache_is_off(run_python):
    out = run_python("import fastmotion; fastmotion.show_versions()", FASTMOTION_DISABLE_CACHE="1")
    assert "\ncache: off\n" in out


@pytest.fixture
def two_cases(monkeypatch):
    calls = []

    def kernels():
        calls.append("kernels")

    def more():
        calls.append("more")

    monkeypatch.setattr(fc, "_warmup_cases", {"flow": [kernels], "trajectory": [more]})
    return calls


@pytest.mark.parametrize("families", [None, ["flow", "trajectory"], iter(("flow", "trajectory"))])
def test_warmup_runs_the_cases_and_returns_their_times(two_cases, families, caplog):
    with caplog.at_level(logging.INFO, "fastmotion"):
        seconds = fastmotion.warmup(families)
    assert two_cases == ["kernels", "more"]
    assert list(seconds) == ["flow.kernels", "trajectory.more"]
    assert all(0 <= value < 1 for value in seconds.values())
    assert "warmed up flow.kernels in" in caplog.text


def test_warmup_of_one_family_leaves_the_others(two_cases):
    assert list(fastmotion.warmup("trajectory")) == ["trajectory.more"]
    assert two_cases == ["more"]


def test_warmup_refuses_unknown_families(two_cases):
    with pytest.raises(ValueError, match=r"'epipolar', 'features'\], got \['flaw'\]"):
        fastmotion.warmup(["flow", "flaw"])
    assert two_cases == []


def test_every_family_has_something_to_warm_up():
    for family in fastmotion._FAMILIES:
        getattr(fastmotion, family)
        assert fc.warmup_cases(family)
