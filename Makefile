# Each command sets up everything it needs; a machine needs only make, Python 3.11+ and pip.
# Three environments: .venv has Keras 3, and iNNvestigate on tf_keras beside it; .venv-innvestigate has what
# iNNvestigate's own pins choose, TensorFlow 2.14 with Keras 2; .venv-lowest has the lowest versions that
# pyproject.toml allows. The last two exist for Python 3.11 only.
PYTHON ?= python3
UV := PYTHONPATH=.uv $(PYTHON) -m uv
BIN := .venv/bin
OLD := .venv-innvestigate
LOWEST := .venv-lowest
# Bytecode is kept, whatever the shell says: to compile TensorFlow takes each process ten seconds.
export PYTHONDONTWRITEBYTECODE :=
IS_311 := $(shell $(PYTHON) -c 'import sys; print(sys.version_info[:2] == (3, 11))')

.PHONY: demo test test-native test-innvestigate test-slow test-all test-lowest test-kernels coverage lint format hooks lock
.PHONY: mutations benchmark docs docs-links pictures release setup

demo: setup
	$(BIN)/rap-keras demo --out demo

# Tests run side by side: neighbours stay on one worker, which then shares what they build.
WORKERS ?= 2
PYTEST := python -m pytest -n $(WORKERS) --dist worksteal
PARTS := lint test-native test-innvestigate

# All parts run, whichever fails.
test: setup
	@failed=; \
	for part in $(PARTS); do $(MAKE) $$part || failed="$$failed $$part"; done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed (of $(PARTS))"; exit 1; fi; \
	echo "Passed: $(PARTS)"

# Everything. The slow tests run folder by folder: TensorFlow keeps what custom gradients refer to,
# so that a worker grows with every network it builds.
SLOW := $(sort $(dir $(wildcard tests/*/test_*.py)))
test-all: test test-slow

test-slow: setup
	@failed=; \
	for folder in $(SLOW); do \
	    $(BIN)/$(PYTEST) -m slow $$folder || [ $$? = 5 ] || failed="$$failed $$folder"; \
	done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed (slow tests)"; exit 1; fi
	$(MAKE) test-innvestigate MARK="-m slow"

test-native: setup
	$(BIN)/$(PYTEST) $(MARK)

ifeq ($(IS_311),True)
test-innvestigate: $(OLD)/ready
	$(OLD)/bin/$(PYTEST) $(MARK) -W ignore::DeprecationWarning tests/innvestigate
else
test-innvestigate:
	@echo "TensorFlow 2.14 needs Python 3.11: the plugin is not tested on it here."
endif

# The native backend alone. Old releases use what newer libraries below them deprecate: that is no defect here.
test-lowest: $(LOWEST)/ready
	$(LOWEST)/bin/$(PYTEST) -W ignore::DeprecationWarning --ignore=tests/innvestigate

# Of both environments together: the plugin's tests need the second. TESTS narrows it, for a try.
TESTS ?= tests
coverage: setup $(OLD)/ready
	rm -f .coverage .coverage.*
	$(BIN)/$(PYTEST) --cov --cov-report= $(TESTS)
	$(OLD)/bin/$(PYTEST) -W ignore::DeprecationWarning --cov --cov-append --cov-report= \
	    tests/innvestigate
	$(BIN)/coverage report

# What other processors compute: oneDNN's kernels of each instruction set or none, and one thread or
# two. Every setting runs; those that fail are named at the end. A processor without AVX-512 repeats
# its best kernels. Half precision is left out: TensorFlow asks the processor, not the setting, whether
# oneDNN can compute it, and fails where the setting says no.
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

# How many of 50 small faults the fast tests find, and how many all of them: takes an hour or two.
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

# The checks of `make lint` before each commit.
hooks: setup
	$(BIN)/pre-commit install

benchmark: setup
	$(BIN)/python benchmarks/cost_of_rap.py

# The site, docs/_build/html/index.html; what is wrong with it is an error. The plugin's page needs Python 3.11.
SPHINX := $(BIN)/python -m sphinx -W --keep-going
docs: setup
	$(SPHINX) -q docs docs/_build/html

# Links to the web, which are others' to keep.
docs-links: setup
	$(SPHINX) -b linkcheck docs docs/_build/links

# What the pages show and list of the code: pictures, and the table of layers.
pictures: setup
	$(BIN)/python scripts/pictures.py
	$(BIN)/python scripts/tables.py
	$(BIN)/python scripts/methods.py

# Both archives, checked, and each tried from a clean environment outside of this folder.
# Of each, the bundled networks are 2.7 MB.
LARGEST := 3000000
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
	    $(UV) pip install --quiet --python $$env/bin/python $$archive; \
	    (cd $$env && bin/rap-keras demo --out demo && ls demo) || exit 1; \
	done

# The locks carry versions and hashes but no download addresses, so any mirror serves them.
# `make lock UPGRADE=` only adds what is new in pyproject.toml.
UPGRADE = --upgrade
COMPILE = $(UV) pip compile pyproject.toml --universal --python-version 3.11 $(UPGRADE) \
    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
lock: .uv
	$(COMPILE) --group dev --override requirements/overrides.txt -o requirements/dev.txt
	$(COMPILE) --group test --extra innvestigate -o requirements/innvestigate.txt
	$(COMPILE) --group test --resolution lowest-direct --constraint requirements/lowest-bounds.txt \
	    -o requirements/lowest.txt

setup: .venv/ready

.venv/ready: requirements/dev.txt pyproject.toml | .uv
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
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

# uv goes into a folder of its own: this needs neither venv nor a writable system Python.
.uv:
	$(PYTHON) -m pip install --quiet --target .uv uv
