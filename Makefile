# `make demo` and `make test` each work alone on a fresh clone with Python, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-slow lint types format protos wheel-test clean

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

# Stamps are older than pyproject.toml when the dependencies may have changed.
$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed

demo: $(VENV)/.installed  ## convert, hot-load, stream and swap the golden digits
	$(BIN)/python examples/digits_demo.py

serve: $(VENV)/.installed  ## run both services on the default ports until Ctrl-C
	@$(BIN)/pbexport serve --store ./models --checkpoint-root tests/golden/digits & exporter=$$!; \
	$(BIN)/pbserve serve --store ./models & inference=$$!; \
	trap : INT; trap 'kill $$exporter $$inference' TERM; wait; wait

# A file's tests stay together, and with them what they share; more than four processes would
# need more than 8 GB.
test: $(VENV)/.installed-dev  ## every test that takes seconds
	$(BIN)/pytest -m 'not slow' --durations 15 --numprocesses auto --maxprocesses 4 --dist loadfile

test-slow: $(VENV)/.installed-dev  ## the others
	$(BIN)/pytest -m slow

lint: $(VENV)/.installed-dev  ## ruff, and buf on the protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python protos/generate.py --describe $(VENV)/protos.binpb
	$(BIN)/buf lint $(VENV)/protos.binpb --config protos/buf.yaml

types: $(VENV)/.installed-dev  ## mypy, strict
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## let ruff write
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: $(VENV)/.installed-dev  ## regenerate the stubs
	$(BIN)/python protos/generate.py

clean:  ## remove what make made
	rm -rf $(VENV) $(WHEEL_VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# What a user gets: the wheel, with the newest dependencies, away from this checkout's packages.
WHEEL_VENV := .venv-wheel
wheel-test:  ## build the wheel, install it alone, and run the demo with it
	rm -rf dist $(WHEEL_VENV)
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/pip wheel --quiet --no-deps --wheel-dir dist .
	$(WHEEL_VENV)/bin/pip install --quiet dist/pbserve-*.whl
	$(WHEEL_VENV)/bin/pip list 2>/dev/null | grep -E '^(protobuf|grpcio|tensorflow|numpy) '
	$(WHEEL_VENV)/bin/python examples/digits_demo.py
