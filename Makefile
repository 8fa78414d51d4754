# The two commands that matter: `make demo` and `make test`. Each prepares .venv if it isn't there;
# nothing else is needed but Python 3.11 or newer.
PYTHON ?= $(shell for v in 11 12 13 14; do command -v python3.$$v && exit; done; command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --constraint constraints.txt
JOBS   ?= auto
# loadgroup: tests marked with one xdist_group share a worker, and so the fixture that takes long.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

# Plugins that are tested in .venv: they need nothing but what is there, and diffusers. Every other
# plugin has an environment of its own, .venv-NAME: see `make test-plugin`.
LIGHT  := harmony-apg harmony-autoguidance harmony-cfg-zero harmony-comfyui harmony-cosmos3 harmony-diffusers harmony-kandinsky6 harmony-ltx2 harmony-minimax-h3 harmony-own-times harmony-upcast
OWN    := $(filter-out $(LIGHT),$(patsubst plugins/%/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)))

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-plugin test-newest gpu gpu-report wheels check docs clean

help:  ## What can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Installed again whenever the requirements change.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(f"Python 3.11 or newer is needed, and $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.12" if v < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.library: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.ready: pyproject.toml constraints.txt $(LIGHT:%=plugins/%/pyproject.toml) | $(BIN)/python
	$(PIP) --editable '.[test,check,docs]' $(LIGHT:%=--editable ./plugins/%)
	@touch $@ $(VENV)/.library

demo: $(VENV)/.library  ## Clips of a small Harmony, to see and to hear: out/demo/report.html (1 to 3 minutes on 2 cores, after the installation).
	$(BIN)/harmony demo --out out/demo

test: $(VENV)/.ready  ## All tests but the long ones, in parallel processes (at most 10 minutes on 2 cores).
	$(PYTEST) -m "not slow" tests
	$(PYTEST) -m "not slow" $(LIGHT:%=plugins/%)

test-all: $(VENV)/.ready $(OWN:%=.venv-%)  ## All tests, the long ones and those of every plugin too (at most an hour).
	$(PYTEST) tests
	$(PYTEST) $(LIGHT:%=plugins/%)
	$(foreach name,$(OWN),.venv-$(name)/bin/python -m pytest plugins/$(name) &&) true

test-plugin: .venv-$(NAME)  ## The tests of one plugin that has an environment of its own: make test-plugin NAME=harmony-...
	.venv-$(NAME)/bin/python -m pytest plugins/$(NAME)

.venv-%: plugins/%/pyproject.toml pyproject.toml constraints.txt
	test -x $@/bin/python || $(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test]' --editable ./plugins/$*
	@touch $@

test-newest:  ## The arithmetic with the newest torch, numpy and triton that pip finds, in .venv-newest.
	test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[test]'
	.venv-newest/bin/python -m pip list | grep -iE '^(torch|torchaudio|numpy|triton) '
	.venv-newest/bin/python -m pytest -n $(JOBS) -m "not slow" $(NEWEST:%=tests/%)

NEWEST := assembly attention branches codecs cost denoisers encoders flow guidance interaction kernels latents models sample style tasks train

# Without a virtual environment: make gpu PY=python3, on a machine that has torch and triton.
PY ?= $(BIN)/python
gpu: $(if $(filter $(BIN)/python,$(PY)),$(VENV)/.ready)  ## What waits for a CUDA device, the most important first, in ten minutes: out/gpu (GPU="--budget 300 --skip whole").
	$(PY) -m harmony_parts.benchmarks.gpu $(GPU)

gpu-report:  ## The results of `make gpu` as docs/results/gpu.json, and as tables.
	$(PY) -m harmony_parts.benchmarks.gpu_report out/gpu

# Python 3.12, for a machine that has torch, triton, transformers, pytest and most else.
WHEELS := cattrs attrs click soundfile cffi pycparser tomli-w imageio-ffmpeg==0.6.0 diffusers importlib_metadata requests charset-normalizer certifi idna urllib3
wheels: $(BIN)/python  ## The wheels that such a machine may lack, and their size: out/wheels.
	$(BIN)/python -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 --dest out/wheels $(WHEELS)
	du -sh out/wheels

check: $(VENV)/.ready  ## Style, types and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict --follow-imports=silent --cache-dir .mypy_cache/strict examples
	$(BIN)/python -m pytest -q tests/test_layers.py

docs: $(VENV)/.ready  ## The documentation, strictly: site/.
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --strict --clean

clean:  ## Remove what was made, but no environment.
	rm -rf out site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
