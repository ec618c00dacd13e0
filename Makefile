# The tasks of a checkout. `make` lists them.
#
# Everything is installed into .venv, from the hashed lock. git ignores everything that is built.
# PYTHON=… names the interpreter for .venv, PORT=… the port to serve on.

VENV := .venv
PY := $(VENV)/bin/python
PORT ?= $(or $(SFD_PORT),8000)
# On a terminal pip shows its downloads. Elsewhere it shows only errors.
QUIET := $(shell test -t 2 || echo --quiet)
LOCKS := build service gpu ray openvino fuzz sbom corruptions peers/work
# Servers that the service is compared with: only what they compute with has our versions.
PEERS := litserve mosec bentoml
LOCK := pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header
TOO_OLD := import sys; v = sys.version_info; sys.exit("sfd needs Python 3.11 or newer, but %s is \
	%d.%d. Name another, as in `make PYTHON=python3.12` (and remove .venv if it has the old one)" \
	% (sys.executable, v[0], v[1]) if v < (3, 11) else 0)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# `make` installs without compiling, so keep what Python compiles at the first import.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test soak lint models lock benchmark-setup benchmark clean
.DEFAULT_GOAL := help

help:
	@echo 'make run    set up, build the model if needed, and serve on port $(PORT)'
	@echo 'make test   check and test everything (some tests download packages)'
	@echo 'make soak   the long tests: hostile files, faults, fuzzing (one to two hours)'
	@echo 'make lint   check format, style and types'
	@echo 'make models build the ONNX files of the models under model_store'
	@echo 'make lock   lock the newest versions that pyproject.toml allows, with hashes'
	@echo 'make benchmark-setup  make the environments of the servers that the benchmark compares'
	@echo 'make benchmark        compare them with the service (docs/performance.md; half an hour)'
	@echo 'make clean  remove everything that the other targets made'

run: models
	@SFD_PORT=$(PORT) exec $(PY) -m sfd serve

# If OpenCV and NumPy used several threads in each test process, these would compete for the
# processors, and spin while they wait.
test: lint models
	OMP_NUM_THREADS=1 OPENCV_FOR_THREADS_NUM=1 $(PY) -m pytest -m 'not docker and not soak' \
		--numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

# One test at a time: they measure what the service holds, and want the machine for themselves.
soak: models
	$(PY) -m pip install $(QUIET) --require-hashes -r requirements/fuzz.txt
	$(PY) -m pytest -m soak --numprocesses 0 -o faulthandler_timeout=7200

lint: $(VENV)/.installed
	$(PY) -m ruff format --check
	$(PY) -m ruff check
	$(PY) -m mypy
	$(PY) -m mypy docker docs examples fuzzing hatch_build.py

models: $(VENV)/.installed
	@$(PY) -m sfd models build

# Updates an old .venv if it still fits, instead of creating a new one. Compiling all
# modules would take a third of the time; Python compiles each one at its first import instead.
$(VENV)/.installed: requirements/dev.txt pyproject.toml | $(PY)
	@$(PY) -c '$(TOO_OLD)'
	@echo 'Installing the packages of requirements/dev.txt into $(VENV)'
	@$(PY) -m pip install $(QUIET) --no-compile --require-hashes -r requirements/dev.txt
	@$(PY) -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(PY):
	@python='$(PYTHON)'; \
	if [ -z "$$python" ]; then \
		for found in python3.11 python3.12 python3.13 python3.14 python3 python; do \
			if "$$found" -c '$(TOO_OLD)' 2>/dev/null; then python=$$found; break; fi; \
		done; \
	fi; \
	if [ -z "$$python" ]; then \
		echo 'sfd needs Python 3.11 or newer, but there is none on the PATH. Install one, or' \
			'name it, as in `make PYTHON=/opt/python3.12/bin/python`' >&2; \
		exit 1; \
	fi; \
	"$$python" -c '$(TOO_OLD)' || exit 1; \
	"$$python" -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# The other locks use the versions of dev.txt, so the tests run with the versions that we ship.
lock: $(PY)
	$(PY) -m pip install --quiet uv
	$(PY) -m uv $(LOCK) --upgrade --extra dev pyproject.toml -o requirements/dev.txt >/dev/null
	for name in $(LOCKS); do \
		$(PY) -m uv $(LOCK) --upgrade -c requirements/dev.txt requirements/$$name.in \
			-o requirements/$$name.txt >/dev/null || exit 1; \
	done
	for name in $(PEERS); do \
		$(PY) -m uv $(LOCK) --upgrade -c requirements/peers/work.txt requirements/peers/$$name.in \
			-o requirements/peers/$$name.txt >/dev/null || exit 1; \
	done
	@if grep -nE 'file://|https?://|^ *-(i|f)|^ *--(index|extra-index|find-links)' \
		requirements/*.txt requirements/peers/*.txt; then echo 'a lock file names a package index' >&2; exit 1; fi

benchmark-setup: models
	@$(PY) -m sfd bench servers setup

# ARGS='--servers ours,mosec --rounds 1' is passed on.
benchmark: benchmark-setup
	@$(PY) -m sfd bench servers run $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f model_store/*/model.onnx model_store/*/model.cpu.onnx model_store/*/model.int8.onnx model_store/*/model.second_look.onnx model_store/*/build.json
	rm -rf model_store/.*.tmp model_store/*/.*.tmp
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
