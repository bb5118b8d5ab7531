# Every target sets up what it needs by itself, in an empty clone and in one whose set-up is stale.
# Choose the interpreter with PYTHON: make PYTHON=python3.11 test

PYTHON ?= python3
BIN := .venv/bin
OLDEST := .venv-oldest/bin
# Workers of pytest; empty runs the tests in one process.
JOBS ?= 2
WORKERS = $(if $(JOBS),-n $(JOBS))
PYTHONS := 3.10 3.11 3.12
# For newer ones than the oldest, ruff's advice to leave the older behind is no advice.
NEWER_PYTHON_RULES := --ignore UP,RUF100
# Tests choose their own BLAS threads; more than one per worker only slows them down.
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest lint checks format setup setup-test setup-oldest mutants clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: setup ## the crash, the fix and the proof; needs no torch and no hardware
	@$(BIN)/python -m nkifix demo

test: setup-test checks ## lint, types, import contracts and tests with coverage
	$(BIN)/python -m pytest $(WORKERS) --cov --cov-report=term:skip-covered

test-oldest: setup-oldest ## the tests at the oldest numpy and ml_dtypes that work
	$(OLDEST)/python -m pytest $(WORKERS)

lint: setup-test checks ## lint, types and import contracts only

checks:
	@for version in $(PYTHONS); do \
	  echo "ruff check, Python $$version"; \
	  $(BIN)/python -m ruff check --quiet --target-version "py$$(echo $$version | tr -d .)" \
	    $$([ "$$version" = $(firstword $(PYTHONS)) ] || echo "$(NEWER_PYTHON_RULES)") || exit 1; \
	done
	$(BIN)/python -m ruff format --check
	@for version in $(PYTHONS); do \
	  echo "mypy, Python $$version"; \
	  $(BIN)/python -m mypy --python-version "$$version" || exit 1; \
	done
	$(BIN)/lint-imports --no-logo

format: setup-test ## format the code and mend what ruff can mend
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

mutants: setup-test ## change the checks one by one and see that a test fails each time
	$(BIN)/python scripts/mutants.py

setup:
	@$(PYTHON) scripts/setup_venv.py demo

setup-test:
	@$(PYTHON) scripts/setup_venv.py test

setup-oldest:
	@$(PYTHON) scripts/setup_venv.py oldest

checks: | setup-test

clean: ## remove everything that was built
	rm -rf .venv .venv-oldest .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	rm -f .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
