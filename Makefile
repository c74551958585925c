# make demo       install, make the demo data, train, evaluate
# make test       install, then ruff, mypy and the tests (what CI runs)
# make test-all   the same with the slow tests
# make gpu-check  the GPU tests; PYTHON=python3 takes an interpreter that has everything, without installing
# make gpu-stages  the first minutes on a GPU: STAGE=probe, models, decode, loaders, both or train (all without), OUT=DIR for JSON
# make gpu-bench  throughput on a GPU, written to benchmarks/results/throughput-gpu.json; PYTHON as above
# make gpu-precision  mixed precision against full precision on a GPU
# make docs       the pages of docs/ and the API as a site, in build/site; PYTHON takes an interpreter that has MkDocs, as above
# make release-check  builds the package, looks into it, installs it anew outside this folder, and trains the demo with that
# make clean      remove the environment, the demo data and caches (never runs/)

# PYTHON: the interpreter that the environment is made from (default python3), or that the gpu targets use as it is.
PYTHON ?=
BASE := $(or $(PYTHON),python3)
VENV := .venv/bin/python
GPU_PYTHON := $(or $(PYTHON),$(VENV))
# A path that the caller sets stays behind this folder.
GPU_PATH := PYTHONPATH=$(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
# Two more than CPUs: some tests wait.
TEST_PROCESSES ?= $(shell python3 -c "import os; print(min(len(os.sched_getaffinity(0)), 4) + 2)")
# Tests side by side, a file's on one core as far as it goes: they share what takes long to make. The slowest are named.
PYTEST_FLAGS ?= -n $(TEST_PROCESSES) --dist worksteal --durations 20
# A path in place of a finder that each interpreter would import: 40 ms of each start, of workers, too.
EDITABLE := --config-settings editable_mode=compat
STAGE ?=
OUT ?= runs/gpu

# Tests start very many processes: each would compile all of the code anew where this is set, as images of containers have it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-all quick-tests lint style types gpu-check gpu-stages gpu-bench gpu-precision docs release-check clean
.DELETE_ON_ERROR:

demo: .venv/installed
	@run=runs/demo-$$(date +%Y%m%d-%H%M%S) && \
	$(VENV) -m c2d_fast.prepare demo --out data/demo && \
	$(VENV) -m c2d_fast.train --pipe dali_pipes/demo.py --out $$run && \
	echo "TensorBoard: .venv/bin/tensorboard --logdir runs" && \
	$(VENV) -m c2d_fast.test --pipe dali_pipes/demo.py --checkpoint $$run/best.pt --views 1x1

# mypy takes one core for half a minute: beside the tests.
test: style
	@$(MAKE) --no-print-directory --jobs 2 types quick-tests

quick-tests: .venv/installed-test
	$(VENV) -m pytest $(PYTEST_FLAGS) -m "not slow"

test-all: lint
	$(VENV) -m pytest $(PYTEST_FLAGS)

lint: style types

style: .venv/installed-test
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .

types: .venv/installed-test
	$(VENV) -m mypy

# Side by side where pytest-xdist is there: one after the other they take ten minutes.
gpu-check: $(if $(PYTHON),,.venv/installed-test)
	$(GPU_PYTHON) -m pytest -m gpu $$($(GPU_PYTHON) -c 'import xdist; print("-n 4")' 2>/dev/null)

gpu-stages: $(if $(PYTHON),,.venv/installed-test)
	$(GPU_PATH) $(GPU_PYTHON) -u benchmarks/gpu_stages.py $(STAGE) --out $(OUT) $(GPU_STAGES_FLAGS)

# Loaders, some of the peers' among them; decoder threads x stored form x whole files or cut packets; then recipes in all modes.
# As many as there is time for.
gpu-bench: $(if $(PYTHON),,.venv/installed-test)
	$(GPU_PATH) $(GPU_PYTHON) benchmarks/throughput.py --rounds 2 --budget 450 \
		--peer decord torchcodec mappings cuda pynvvideocodec \
		--sweep decoder-threads=7,14,28 form=stored,intra read=files,clips $(GPU_BENCH_FLAGS)

gpu-precision: $(if $(PYTHON),,.venv/installed-test)
	$(GPU_PATH) $(GPU_PYTHON) benchmarks/precision.py

docs: $(if $(PYTHON),,.venv/installed-docs)
	$(GPU_PYTHON) -m mkdocs build --strict

release-check:
	$(BASE) tools/release_check.py

.venv/installed: setup.cfg pyproject.toml
	@$(BASE) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(BASE) is older than Python 3.11; give a newer one: make PYTHON=python3.12 ..."; exit 1; }
	$(BASE) -m venv .venv
	$(VENV) -m pip install --disable-pip-version-check $(EDITABLE) -e .
	touch $@

# decord2 is imported as decord is, so it has a folder of its own; where there is no wheel, the benchmark names it as missing.
.venv/installed-test: .venv/installed
	$(VENV) -m pip install --disable-pip-version-check $(EDITABLE) -e '.[test]'
	-$(VENV) -m pip install --disable-pip-version-check --no-deps --only-binary :all: --target .venv/decord2 'decord2>=3.4'
	touch $@

.venv/installed-docs: .venv/installed
	$(VENV) -m pip install --disable-pip-version-check $(EDITABLE) -e '.[docs]'
	touch $@

clean:
	rm -rf .venv data/demo data/precision data/benchmark data/soak build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find c2d_fast dali_pipes tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
