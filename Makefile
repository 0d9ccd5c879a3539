# make search   sets up, then runs the main job: a search over dropout
# make test     sets up, then passes the test suite

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SPACE ?= dropout

.DEFAULT_GOAL := help
.PHONY: help setup search test test-integration test-end-to-end check docs bench format clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(VENV)/.installed  ## make .venv and install everything (4 minutes, 7 GB the first time)

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $$(command -v $(PYTHON) || command -v python3) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --editable '.[dev]'
	touch $@

search: setup  ## run a search: make search SPACE=dropout ARGS="budget.trials=3"
	$(BIN)/python -m search.run space=$(SPACE) $(ARGS)

test: setup  ## pass the whole test suite: unit tests on all cores, then two halves side by side
	$(BIN)/python -m pytest tests/unit --numprocesses auto --maxprocesses 4
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-integration test-end-to-end

test-integration:
	$(BIN)/python -m pytest tests --ignore tests/unit --ignore tests/end_to_end

test-end-to-end:
	$(BIN)/python -m pytest tests/end_to_end

check: setup  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## build the documentation into build/docs, without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet -f .mkdocs.yml

bench: setup  ## run the benchmarks; quote ratios, machines are noisy
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only

clean:  ## remove caches, not corpora and not studies
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks build *.egg-info
