# `make demo` sets up and runs the main job on the built-in data; `make test` sets up and runs the
# tests. Both need Python 3.11 or newer and nothing else.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; \
	done)
# The CPU build that pip is asked for by name, and the oldest torch that will do.
TORCH := 2.13.0
TORCH_LEAST := 2.7
OUT ?= runs/demo
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test check format docs release-check clean

help:
	@echo "make demo    set up, then run the main job on the built-in data (OUT=$(OUT))"
	@echo "make test    set up, then run the tests"
	@echo "make check   format, lint, types, layers, tests"
	@echo "make .venv   set up alone; then .venv/bin/blip is the command"
	@echo "make format  let ruff mend what it can"
	@echo "make docs    write the page of commands, and build the site in build/docs"
	@echo "make release-check  build wheel and sdist, and check what a release needs"
	@echo "make clean   remove the virtual environment and caches"

# The stamp is written last: an interrupted set-up does not count as one, and goes on where it was.
$(VENV)/.complete: pyproject.toml
	@test -n "$(PYTHON)" || { \
		echo "Python 3.11 or newer is needed and none was found; name one: make PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		echo "setting up $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV); }
	@$(MAKE) --no-print-directory torch
	@echo "installing blip and its tools into $(VENV)"
	@$(BIN)/python -m pip install -qq -e '.[dev]'
	@echo "blip is installed as $(BIN)/blip; \`source $(BIN)/activate\` puts it on your path"
	@touch $@

.PHONY: $(VENV)
$(VENV): $(VENV)/.complete

# On Linux, pip installs torch with gigabytes of CUDA unless told otherwise. Without a GPU we first
# ask for a CPU build that pip may know of, and else let uv choose the build that fits the machine.
.PHONY: torch
torch:
	@if $(BIN)/python -c 'import sys, torch; has, least = ([int(n) for n in v.split(".")[:2]] \
		for v in (torch.__version__, "$(TORCH_LEAST)")); sys.exit(has < least)' 2>/dev/null; then exit 0; fi; \
	echo "installing torch into $(VENV), which can take minutes"; \
	if [ "$$(uname -s)" != Linux ]; then \
		$(BIN)/python -m pip install -qq 'torch>=$(TORCH_LEAST)'; exit; \
	fi; \
	if ! command -v nvidia-smi >/dev/null 2>&1; then \
		$(BIN)/python -m pip install -qq 'torch==$(TORCH)+cpu' 2>/dev/null && exit 0; \
	fi; \
	$(BIN)/python -m pip install -qq uv && \
	$(BIN)/uv pip install -qq --python $(BIN)/python --torch-backend=auto 'torch>=$(TORCH_LEAST)' || { \
		echo "torch could not be installed; put a build for this machine into $(VENV), then make again" >&2; \
		exit 1; }

demo: $(VENV)/.complete
	$(BIN)/blip demo --out $(OUT)

test: $(VENV)/.complete
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/.complete
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

format: $(VENV)/.complete
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.complete
	$(BIN)/python docs/write_cli_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Wheel and sdist land in build/release/dist. The wheel must work in a new environment with what it
# asks for and nothing else.
RELEASE := build/release
release-check: $(VENV)/.complete
	$(BIN)/python -m pip install -qq -e '.[release]'
	rm -rf $(RELEASE)
	$(BIN)/python -m build --outdir $(RELEASE)/dist .
	$(BIN)/twine check --strict $(RELEASE)/dist/*
	$(BIN)/cffconvert --validate --infile CITATION.cff
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m pytest -q tests/house/test_release.py tests/house/test_wheel.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir $(RELEASE)/site
	$(PYTHON) -m venv $(RELEASE)/env
	@$(MAKE) --no-print-directory torch VENV=$(RELEASE)/env
	$(RELEASE)/env/bin/pip install -qq $(RELEASE)/dist/*.whl
	$(RELEASE)/env/bin/blip --version
	$(RELEASE)/env/bin/blip data scenes $(RELEASE)/scenes --human 20 --web 20 --val 10 --test 10
	$(RELEASE)/env/bin/blip data inspect $(RELEASE)/scenes/web

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis build src/*.egg-info
