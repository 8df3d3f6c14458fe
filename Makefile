# The project from a clone: every target makes .venv first. `make up` is the whole set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help up down status restart test lint bench clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

up: $(VENV)/.installed ## bring the stack up (ARGS="--strict --json")
	@$(BIN)/context-cleaner up $(ARGS)

down: $(VENV)/.installed ## stop all that is ours
	@$(BIN)/context-cleaner down $(ARGS)

status: $(VENV)/.installed ## what runs, and how healthy it is
	@$(BIN)/context-cleaner status $(ARGS)

restart: $(VENV)/.installed ## stop and start the services
	@$(BIN)/context-cleaner restart $(ARGS)

test: lint ## everything that must hold, side by side (ARGS="-n 0" one after the other)
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

lint: $(VENV)/.developed ## ruff, mypy, shellcheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck .ci/run tests/lab/lab $(wildcard scripts/*.sh) $(wildcard config/*/*.sh)

bench: $(VENV)/.developed ## how fast, as ratios in one run
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove what these targets made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: make PYTHON=python3.12 up" >&2; exit 2; }
	@echo "installing into $(VENV) ..." >&2
	@$(BIN)/python -m pip --disable-pip-version-check -q install -c constraints.txt -e .
	@$(BIN)/python -m compileall -q cc tasks.py
	@touch $@

$(VENV)/.developed: $(VENV)/.installed
	@$(BIN)/python -m pip --disable-pip-version-check -q install -c constraints.txt -e '.[dev]'
	@touch $@
