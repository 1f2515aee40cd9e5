# make demo   install what is needed and run the main job
# make test   everything that continuous integration runs
# make docs   the documentation, with its tutorials executed

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
WORKERS ?= 2

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --only-binary :all: -c constraints.txt
CORE := .venv/.installed-core
DEV := .venv/.installed-dev

# Several processes share the cores: more threads in each only cost time.
export OMP_NUM_THREADS ?= 1
export MPLBACKEND ?= Agg

.PHONY: demo test install lint types contract docs pytest clean

demo: $(CORE)
	@out=runs/demo-ladle; n=1; \
	while [ -e "$$out" ]; do n=$$((n + 1)); out=runs/demo-ladle-$$n; done; \
	$(BIN)/detopt run studies/ladle.yaml --workers $(WORKERS) --out "$$out" && \
	echo "Open $(CURDIR)/$$out/report.html in a browser."

test: lint types contract docs pytest

install: $(DEV)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

contract: $(DEV)
	$(BIN)/lint-imports

docs: $(DEV)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

pytest: $(DEV)
	$(BIN)/python -m pytest -q -n $(WORKERS)

clean:
	rm -rf docs/_build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "detopt needs Python 3.11 or newer; say which: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv

$(CORE): .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

$(DEV): .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[dev,docs]'
	@touch $@ $(CORE)
