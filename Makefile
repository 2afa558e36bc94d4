# `make demo` and `make test` do all the set-up on a fresh machine with Python 3.11.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo

.PHONY: install dev demo test test-all check bench docs clean

install: $(VENV)/installed

dev: $(VENV)/installed-dev

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)

# torch by itself first, so that no other package's requirement picks another build of it.
$(VENV)/installed: $(VENV)/bin/python setup.py pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/pythia-traj demo --out $(DEMO)

test: dev
	sh tests/system_packages.sh
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# What takes minutes, beside what `make test` runs.
test-all: test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m 'slow and not hub'

check: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: dev
	$(BIN)/python benchmarks/all.py

# The parts of the documentation, and the schema of configs, that are made from the code.
docs: install
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
