# One target per habit. Each sets up its environment first, which takes a second when nothing changed.
VENV := .venv$(addprefix -,$(filter-out openmmlab,$(STACK)))
PY := $(VENV)/bin/python
# Tests are many small tensors: one thread in each of several processes is faster than the reverse.
TEST_WORKERS ?= $(shell cores=$$(nproc || echo 2) && echo $$((cores < 8 ? cores : 8)))
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -n $(TEST_WORKERS)

.DEFAULT_GOAL := help
.PHONY: help env demo test test-all docs lint format clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

env: ## Set up .venv; PYTHON=... chooses the interpreter, STACK=onedl the forks
	@tools/dev/setup_env.sh

demo: env ## Run the demo, on the CPU
	@$(PY) -m mmkd demo

test: env ## Run the tests
	@$(PYTEST) -m 'not full'

test-all: env ## Run the tests and step every config
	@$(PYTEST)

docs: env ## Build the site into docs/_build/html
	@$(PY) -m pip install -q --no-input --disable-pip-version-check -c requirements/constraints.txt -r requirements/docs.txt
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html

lint: env ## Check lint and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: env ## Format, and fix what lint can fix
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean: ## Remove the environments and what the tools left; work_dirs/ stays
	rm -rf .venv .venv-onedl .pytest_cache .ruff_cache build mmkd.egg-info docs/_build docs/generated
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
