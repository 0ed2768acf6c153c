# Each command sets up everything it needs; a machine needs only make, Python 3.11+ and pip.
# Two environments: .venv has Keras 3, and iNNvestigate on tf_keras beside it; .venv-innvestigate has what
# iNNvestigate's own pins choose, TensorFlow 2.14 with Keras 2, which exist for Python 3.11 only.
PYTHON ?= python3
UV := PYTHONPATH=.uv $(PYTHON) -m uv
BIN := .venv/bin
OLD := .venv-innvestigate
IS_311 := $(shell $(PYTHON) -c 'import sys; print(sys.version_info[:2] == (3, 11))')

.PHONY: demo test test-innvestigate test-slow lint format lock benchmark setup

demo: setup
	$(BIN)/rap-keras demo --out demo

test: setup lint
	$(BIN)/python -m pytest
	$(MAKE) test-innvestigate

ifeq ($(IS_311),True)
test-innvestigate: $(OLD)/ready
	$(OLD)/bin/python -m pytest -W ignore::DeprecationWarning tests/innvestigate
else
test-innvestigate:
	@echo "TensorFlow 2.14 needs Python 3.11: the plugin is not tested on it here."
endif

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: setup
	$(BIN)/python benchmarks/cost_of_rap.py

# The lock carries versions and hashes but no download addresses, so any mirror serves it.
COMPILE = $(UV) pip compile pyproject.toml --universal --python-version 3.11 --upgrade \
    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
lock: .uv
	$(COMPILE) --group dev --override requirements/overrides.txt -o requirements/dev.txt
	$(COMPILE) --group test --extra innvestigate -o requirements/innvestigate.txt

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

# uv goes into a folder of its own: this needs neither venv nor a writable system Python.
.uv:
	$(PYTHON) -m pip install --quiet --target .uv uv
