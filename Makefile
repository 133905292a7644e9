# Two commands: `make run` sets up and runs the main study; `make test` sets up and runs every test.
# Others: `make bench [ROW=name]`, `make docs`, `make lint`, `make clean`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# On a CPU-only machine without a local wheel, avoid the CUDA build: make TORCH_INDEX=https://download.pytorch.org/whl/cpu run
TORCH_INDEX ?=
STUDY ?= studies/stock-investment.toml
ROW ?=
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt
WARM := PYTHONDONTWRITEBYTECODE= $(BIN)/python -c

.DEFAULT_GOAL := help
.PHONY: help run test test-fast lint docs bench clean

help:
	@sed -n '1,2s/^# //p' Makefile

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Fiduciary needs Python 3.11 or later; give one: make PYTHON=python3.12 run")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0 $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) -e .
	@# --no-compile is twice as fast; one import writes the bytecode that every later start needs.
	@$(WARM) "import torch, torch.optim, polars, talib, pydantic, jinja2, plotly.graph_objects, rich.progress, cyclopts, fiduciary.cli"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e .[dev]
	@touch $@

run: $(VENV)/.installed
	$(BIN)/fiduciary run $(STUDY)

test: $(VENV)/.installed-dev lint docs
	$(BIN)/python -m pytest -n 2 -m "not slow"
	$(BIN)/python -m pytest -n 2 -m slow

test-fast: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 -m "not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/bench.py $(ROW)

clean:
	rm -rf $(VENV) .bench site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
