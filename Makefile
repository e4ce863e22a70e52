# Every target makes its own environment in .venv; nothing has to be installed first but
# Python >= 3.11 and make. Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Machine code that Numba compiles stays in the checkout, so that `make clean` means a cold start.
export FASTMOTION_CACHE_DIR ?= $(CURDIR)/.cache/numba

.PHONY: help demo test peers bench wheel-check gpu-test gpu-bench on-gpu-test on-gpu-bench lint docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   optical flow of a real image pair; leaves demo.png"
	@echo "make test   the whole test suite"
	@echo "make peers  hmmlearn's own tests, from its source distribution, run against ours"
	@echo "make bench  benchmarks beside other libraries, and a report in bench/results/README.md;"
	@echo "            FASTMOTION_DATA adds accuracy, QUICK=1 is short and writes to .cache/bench"
	@echo "make wheel-check  builds the wheel, installs it elsewhere, and runs demo and README there"
	@echo "make gpu-test   the tests of CUDA kernels on this machine's GPU; CUDA=13 takes that CUDA"
	@echo "make gpu-bench  benchmarks on it beside PyTorch, CuPy, kornia and OpenCV; QUICK=1 for small ones"
	@echo "make lint   ruff and mypy"
	@echo "make docs   HTML pages in docs/_build/html"
	@echo "make clean  removes the environment, caches and build products"

demo: $(VENV)/.with-demo
	$(BIN)/fastmotion demo -o demo.png

# Each worker compiles what its tests need: more than a few gain nothing. ARGS="-n0 …" has none.
WORKERS := --numprocesses=auto --maxprocesses=4 --dist=worksteal
# How long the whole suite takes is part of the report of `make bench`.
test: $(VENV)/.with-test
	@mkdir -p .cache
	$(BIN)/python -m pytest $(WORKERS) --durations=15 $(if $(ARGS),$(ARGS),--junitxml=.cache/tests.xml)

# hmmlearn's wheel has no tests. Those of scikit-learn are installed and run with all others.
HMMLEARN := hmmlearn-0.3.3
peers: $(VENV)/.with-test .cache/peers/$(HMMLEARN)
	FASTMOTION_HMMLEARN=.cache/peers/$(HMMLEARN) $(BIN)/python -m pytest tests/peers $(ARGS)

.cache/peers/$(HMMLEARN): | $(BIN)/python
	mkdir -p .cache/peers
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps \
	  --no-binary hmmlearn --dest .cache/peers hmmlearn==$(HMMLEARN:hmmlearn-%=%)
	tar -xzf .cache/peers/$(HMMLEARN).tar.gz -C .cache/peers

# Scripts of the report, in the order in which they run. The last ones need FASTMOTION_DATA.
BENCHES := speed_flow speed_trajectory speed_mixture speed_epipolar speed_homography speed_features \
  accuracy_mixture accuracy_epipolar uncertainty_epipolar startup
BENCHES_ON_DATA := accuracy_flow accuracy_trajectory
# The same jobs by pytest-benchmark come last; they are not part of the report.
# Timings need the machine for themselves. A missed goal does not keep the rest from running.
bench: export FASTMOTION_BENCH := $(if $(QUICK),quick,full)
bench: $(VENV)/.with-bench
	@status=0; \
	for script in $(BENCHES) $(if $(FASTMOTION_DATA),$(BENCHES_ON_DATA)); do \
	  echo; echo "== $$script"; \
	  $(BIN)/python -m bench.$$script --save $(ARGS) || status=1; \
	done; \
	$(BIN)/python -m bench.summary || status=1; \
	$(if $(QUICK),,$(BIN)/python -m pytest bench -k "not gpu" --benchmark-enable || status=1;) \
	exit $$status

# Leaves wheel and source distribution in dist.
wheel-check: $(VENV)/.with-wheel-check
	$(BIN)/python -m tests.wheel

# Major version of CUDA: 12, or 13 where the driver is new enough. Each has an environment of its own,
# as the packages for one and for the other exclude each other.
CUDA ?= 12
# Without a GPU nothing is installed: the reason is printed, and that is all.
gpu-test gpu-bench:
	@if $(PYTHON) -m bench.gpu_driver; then \
	  $(MAKE) --no-print-directory VENV=.venv-cu$(CUDA) on-$@; \
	else echo "make $@: skipped"; fi

# What this GPU cannot run is skipped, with the reason (-rs).
on-gpu-test: $(VENV)/.with-checks,cu$(CUDA)
	$(BIN)/python -m pytest tests/gpu -rs $(ARGS)

# A missed goal, or a peer that fails, does not keep the report from being made. What small sizes
# take is no result to keep.
on-gpu-bench: $(VENV)/.with-gpu-bench-cu$(CUDA)
	@status=0; mkdir -p .cache; \
	name=gpu_$$($(BIN)/python -m bench.gpu_driver --file-name).json; \
	results=$(if $(QUICK),.cache,bench/results)/$$name; \
	FASTMOTION_GPU_BENCH=$(if $(QUICK),quick,full) $(BIN)/python -m pytest bench -k gpu -rs \
	  --benchmark-enable --benchmark-columns=median,iqr,rounds --benchmark-json=$$results $(ARGS) \
	  || status=1; \
	$(BIN)/python -m bench.gpu_report $$results || status=1; \
	exit $$status

lint: $(VENV)/.with-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.with-docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check_pages.py docs/_build/html

clean:
	rm -rf $(VENV) .venv-cu12 .venv-cu13 .cache .mypy_cache .ruff_cache .hypothesis .benchmarks build dist *.egg-info
	rm -rf docs/_build docs/gallery docs/api/generated docs/sg_execution_times.rst demo.png
	find fastmotion tests bench docs -name __pycache__ -type d -prune -exec rm -rf {} +

# .venv/.with-demo stands for "fastmotion[demo] is installed", and so on.
$(VENV)/.with-%: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fastmotion needs Python >= 3.11; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
