# `make demo` and `make test` need Python 3.11 or newer, pip and make; they build .venv themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST_FLAGS ?= -n 2

MANIFESTS := pyproject.toml requirements-dev.txt constraints.txt \
	$(wildcard core/pyproject.toml plugins/*/pyproject.toml contrib/*/pyproject.toml)
# Every distribution of this repository is installed (enough for `fewbits`)…
INSTALLED := $(VENV)/.installed
# …and the tools of those who work on it as well.
TOOLS := $(VENV)/.tools

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow check format bench clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(INSTALLED) ## run the whole flow on the network that comes with the repository
	$(BIN)/fewbits demo

test: check ## lint, types, every test but the slow ones
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "not slow"

test-slow: $(TOOLS) ## the slow tests: fresh installs, larger networks
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m slow

check: $(TOOLS) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(TOOLS) ## rewrite the sources as ruff wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## measure speed, memory and accuracy; JSON out
	$(BIN)/python -m tests.benchmarks.run

clean: ## remove the virtual environment and everything that was built
	rm -rf $(VENV) build dist fewbits-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "fewbits needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(MANIFESTS) | $(BIN)/python
	$(PIP) $$(grep '^-e' requirements-dev.txt)
	@touch $@

$(TOOLS): $(INSTALLED)
	$(PIP) $$(grep -v '^-e\|^#' requirements-dev.txt)
	@touch $@
