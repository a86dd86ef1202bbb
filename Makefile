# Everything a new machine needs is Python 3.11-3.13 and make.
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
STAMP := $(VENV)/.installed

.PHONY: help install demo test test-slow bench-verify bench-preparation lint lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## build .venv from requirements.lock, bytecode compiled

$(STAMP): requirements.lock pyproject.toml
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
		echo "ferlab needs Python 3.11, 3.12 or 3.13 and found $(or $(PYTHON),none of them). Install one, or: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes --compile-bytecode -r requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --compile-bytecode -e .
	@touch $(STAMP)

demo: install ## the whole job on the embedded synthetic data set
	$(BIN)/ferlab pipeline experiments=quickstart

test: install lint ## lint, types, room table, tests
	$(BIN)/pytest -q -n auto --dist loadfile -m "not slow"

test-slow: install ## environments, wheel, mlflow run, browser
	$(BIN)/pytest -q -m slow

bench-verify: install ## time and memory of `ferlab verify` (FER2013=DIR adds a copy of yours)
	$(BIN)/python benchmarks/verify.py $(if $(FER2013),--fer2013 $(FER2013))

bench-preparation: install ## speed of `ferlab prepare` against one core's bare loop
	$(BIN)/python benchmarks/preparation.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: install ## resolve requirements.lock anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --all-extras pyproject.toml -o requirements.lock

clean: ## remove .venv and caches (never .ferlab)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist
