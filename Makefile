# Two commands matter: `make demo` and `make test`. Each prepares .venv when it is missing; nothing else has to be there but Python 3.11+.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PARTS  := $(wildcard plugins/*/pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all gpu check docs clean

help:  ## What can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Installed again whenever what is asked for changes.
$(READY): pyproject.toml constraints.txt $(PARTS)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 12) else f"Python 3.11 or 3.12 is needed, and $(PYTHON) is {v[0]}.{v[1]}; say: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,check,docs]' $(patsubst %/pyproject.toml,--editable ./%,$(PARTS))
	@touch $@

demo: $(READY)  ## Train a small Harmony, generate with it, measure the sync: out/demo/report.html (at most 10 minutes on 2 cores).
	$(BIN)/harmony demo --out out/demo

test: $(READY)  ## All tests but the long ones (at most 12 minutes on 2 cores).
	$(BIN)/python -m pytest -m "not slow"
	$(BIN)/python -m pytest -m "not slow" plugins

test-all: $(READY)  ## All tests, the long ones too (at most an hour).
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest plugins

gpu: $(READY)  ## What waits for a CUDA device: parity with the CPU, time and memory of a step (out/gpu.jsonl).
	mkdir -p out
	HARMONY_GPU_REPORT=out/gpu.jsonl $(BIN)/python -m pytest -m gpu
	$(BIN)/python -m harmony_parts.benchmarks.local_attention --device cuda --json out/local-attention-cuda.json
	$(BIN)/python -m harmony_parts.benchmarks.model --device cuda --json out/model-cuda.json

check: $(READY)  ## Style, types and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

docs: $(READY)  ## The documentation, strictly: site/.
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --strict --clean

clean:  ## Remove what was made, but not .venv.
	rm -rf out site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
