# Each command sets up everything it needs; a machine needs only make, Python 3.11+ and pip.
PYTHON ?= python3
UV := PYTHONPATH=.uv $(PYTHON) -m uv
BIN := .venv/bin

.PHONY: demo test test-slow lint format lock benchmark setup

demo: setup
	$(BIN)/rap-keras demo --out demo

test: setup lint
	$(BIN)/python -m pytest

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
	$(BIN)/python benchmarks/cost.py

# The lock carries versions and hashes but no download addresses, so any mirror serves it.
lock: .uv
	$(UV) pip compile pyproject.toml --group dev --universal --python-version 3.11 --upgrade \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -o requirements/dev.txt

setup: .venv/ready

.venv/ready: requirements/dev.txt pyproject.toml | .uv
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

# uv goes into a folder of its own: this needs neither venv nor a writable system Python.
.uv:
	$(PYTHON) -m pip install --quiet --target .uv uv
