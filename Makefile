# Every target makes what it needs; a fresh clone needs Python and make.

PYTHON ?= python3
LOCK_PYTHON ?= python3.10

BIN := .venv/bin
PYTEST_OPTIONS := -n 2 --dist loadgroup
FORMATTED := metaflow_dagster tests fixtures/demo

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup services demo test test-fast test-deep test-oldest lint lock golden docs docs-site bench sizes load clean

help:  ## List the targets.
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1:/p' $(MAKEFILE_LIST) | awk -F: '{printf "  %-12s %s\n", $$1, $$2}'

setup: .venv/.installed  ## Make .venv with the package (editable) and everything the other targets use.

services:  ## Install what the tests start (PostgreSQL, MariaDB, Redis, Chromium, a C compiler), if root.
	@tests/services/install.sh

demo: .venv/.installed  ## Compile the example flows, run one with Dagster and show what came out; kept in build/demo.
	$(BIN)/python fixtures/demo/demo.py build/demo

test: .venv/.installed services  ## Run all tests.
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

test-fast: .venv/.installed  ## Run the tests that take less than a minute together.
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m "not slow"

test-deep: .venv/.installed  ## Run the property-based tests with new examples, 25 to 100 times as many; takes hours.
	HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest $(PYTEST_OPTIONS) --timeout=0 tests/test_properties.py tests/test_traces.py tests/test_random_resume.py tests/unit

test-oldest: .venv-oldest/.installed services  ## Run all tests with the oldest supported Dagster, Metaflow and LibCST.
	.venv-oldest/bin/python -m pytest $(PYTEST_OPTIONS)

lint: .venv/.installed  ## Check style, format and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check $(FORMATTED)
	$(BIN)/mypy
	$(BIN)/mypy --strict --allow-subclassing-any metaflow_dagster/metaflow_extensions/*/plugins/dagster_*.py
	$(BIN)/mypy --strict fixtures/demo/demo.py tests/bench

golden: .venv/.installed  ## Write fixtures/golden anew; look through the diff before you commit it.
	$(BIN)/python tests/golden.py --write

docs: .venv/.installed services  ## Write graph-shapes.md, reliability.md, tables of options and images of docs anew.
	$(BIN)/python -m tests.shapes_doc --write
	$(BIN)/python -m tests.faults_doc --write
	$(BIN)/python -m tests.options_doc --write
	$(BIN)/python -m tests.pictures --write

docs-site: .venv/.installed  ## Build the documentation as a site, in build/site.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: .venv/.installed  ## Time and weigh flows under Metaflow and under Dagster; options in ARGS, such as --help.
	$(BIN)/python -m tests.bench $(ARGS)

sizes: .venv/.installed  ## Print how long generated files are, and what it takes to generate them.
	$(BIN)/python -m tests.bench.generated

load: .venv/.installed services  ## Run large flows, and many at once, through a daemon on PostgreSQL, and time them.
	$(BIN)/python -m tests.bench.load

# The oldest Python decides: what was released for it runs on the later ones too, not the reverse.
# The pip it comes with takes forever to choose among unpinned releases.
lock:  ## Write constraints.txt anew, with the newest releases for the oldest Python (LOCK_PYTHON).
	rm -rf build/lock
	$(LOCK_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10) and "LOCK_PYTHON must be Python 3.10")'
	$(LOCK_PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --upgrade pip
	build/lock/bin/pip install --quiet --editable '.[test]'
	echo '# Written by `make lock`.' > build/constraints.txt
	build/lock/bin/pip freeze --exclude-editable >> build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -r build/lock

clean:  ## Remove everything that make has made.
	rm -rf .venv .venv-oldest build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find metaflow_dagster tests fixtures -name __pycache__ -prune -exec rm -r {} +

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

.venv-oldest/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --upgrade pip
	.venv-oldest/bin/pip install --quiet --constraint constraints-oldest.txt --editable '.[test]'
	touch $@
