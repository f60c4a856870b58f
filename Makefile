# `make demo` sets up and runs the main job on the built-in data; `make test` sets up and runs the
# tests. Both need Python 3.11 or newer and nothing else.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
TORCH := 2.13.0
OUT ?= runs/demo

.PHONY: help demo test check format clean

help:
	@echo "make demo    set up, then run the main job on the built-in data (OUT=$(OUT))"
	@echo "make test    set up, then run the tests"
	@echo "make check   format, lint, types, layers, tests"
	@echo "make .venv   set up alone; then .venv/bin/blip is the command"
	@echo "make format  let ruff mend what it can"
	@echo "make clean   remove the virtual environment and caches"

# The stamp is written last: an interrupted set-up does not count as one.
$(VENV)/.complete: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it with make PYTHON=..." >&2; exit 1; }
	@rm -f $@
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(MAKE) --no-print-directory torch
	$(BIN)/python -m pip install --quiet -e '.[eval,dev]'
	@touch $@

.PHONY: $(VENV)
$(VENV): $(VENV)/.complete

# Linux installs torch with gigabytes of CUDA unless told otherwise. Without a GPU we first ask for
# a CPU build that pip may know already, and else let uv choose the build that fits the machine.
.PHONY: torch
torch:
	@if $(BIN)/python -c 'import torch' 2>/dev/null; then exit 0; fi; \
	if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
		$(BIN)/python -m pip install --quiet 'torch==$(TORCH)+cpu' 2>/dev/null && exit 0; \
	fi; \
	$(BIN)/python -m pip install --quiet uv && \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend=auto 'torch>=2.7'

demo: $(VENV)/.complete
	$(BIN)/blip demo --out $(OUT)

test: $(VENV)/.complete
	$(BIN)/python -m pytest

check: $(VENV)/.complete
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

format: $(VENV)/.complete
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis build src/*.egg-info
