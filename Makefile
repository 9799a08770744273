# Every target sets the environment up by itself. The second call reuses it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint types format bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.run ## the environment with the command `orthoray`, and nothing else
	@echo "The command is $(abspath $(BIN))/orthoray"
	@echo "To call it as orthoray:  source $(BIN)/activate"

demo: $(VENV)/.run ## the whole way on synthetic knees, to a report (about five minutes)
	$(BIN)/orthoray demo --out orthoray-demo

test: $(VENV)/.dev ## all tests
	$(BIN)/python -m pytest

test-fast: $(VENV)/.dev ## the tests that need no Ray session, no browser and no long run (< 90 s)
	$(BIN)/python -m pytest -m "not slow and not ray and not e2e"

lint: $(VENV)/.dev ## style and dead code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## static types
	$(BIN)/mypy

format: $(VENV)/.dev ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

BENCHMARKS := training end_to_end precision augmentation paper_loop resume pretrain_scale \
	ingest ingest_memory ingest_scale deidentification transferability linear_probe null_study

bench: $(VENV)/.dev ## speed and memory, ratios within one run, on a quiet machine (about 55 minutes; BENCHMARKS=… for some)
	@failed=; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || failed="$$failed $$name"; done; \
	if [ -n "$$failed" ]; then echo "not met:$$failed"; exit 1; fi

clean: ## remove the environment and the demo's outputs
	rm -rf $(VENV) orthoray-demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "OrthoRay needs Python 3.11 or newer; set one with: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@echo "making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing OrthoRay and its dependencies (once; a few minutes)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing OrthoRay, its dependencies and the test tools (once; a few minutes)"
	@$(PIP) --editable ".[dev,ocr]"
	@touch $(VENV)/.run $@
