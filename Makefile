# make help lists what there is. Everything is installed into .venv, nothing elsewhere.
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: run
run: $(VENV)/.installed $(VENV)/.compiled  ## install, then train the default recipe; ARGS="model=cnn" changes it
	@$(BIN)/dlrun $(ARGS)

.PHONY: test
test: $(VENV)/.tested $(VENV)/.compiled  ## install what the tests need, then run all of them; ARGS="-k name" runs some
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

.PHONY: proofs
proofs: $(VENV)/.tested $(VENV)/.compiled  ## the long tests that test leaves out
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m proof $(ARGS)

.PHONY: test-lowest
test-lowest:  ## the same tests on the oldest Python found, with the lowest versions allowed
	@$(MAKE) --no-print-directory test VENV=.venv-lowest CONSTRAINTS=.venv-lowest/lowest.txt \
	    PYTHON="$${PYTHON:-$$($(OLDEST))}"

.PHONY: check
check: $(VENV)/.checked  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/vermin --target=3.11- --violations --quiet --no-parse-comments dlrun tests

.PHONY: format
format: $(VENV)/.checked  ## put the code into the form that check asks for
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: readme
readme: $(VENV)/.installed  ## write what README.md and the course's page have from conf/ anew
	$(BIN)/python -m tests.readme

.PHONY: pictures
pictures: $(VENV)/.installed  ## draw the course's pictures anew; ARGS="--root cifar10" with photographs
	$(BIN)/python -m tests.course $(ARGS)

.PHONY: bench
bench: $(VENV)/.installed $(VENV)/.compiled  ## compare the command and the loop with bare ones: tables, also in outputs/
	$(BIN)/python -m tests.bench.run $(ARGS)

.PHONY: ui
ui: $(VENV)/.installed  ## start MLflow on the runs in outputs/
	@echo "the runs: http://127.0.0.1:5000/#/experiments/1/runs, or Training runs on the left of dlrun"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db $(ARGS)

.PHONY: clean
clean:  ## remove caches and built files; .venv and outputs stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .coverage*
	find conf dlrun tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# The first Python 3.11 to 3.13 that starts and has venv; PYTHON=... names another one.
# A name on the PATH may belong to a version manager that has no such Python, so try each.
USABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
$(BIN)/python:
	@found=; for python in $(PYTHON) python3.12 python3.13 python3.11 python3 python; do \
	    if "$$python" -c '$(USABLE)' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "make: no Python 3.11, 3.12 or 3.13 with venv was found (on Debian: apt install python3-venv);" \
	        "make PYTHON=/path/to/python ..." >&2; exit 1; \
	fi; \
	echo "creating $(VENV) with $$($$found --version)"; \
	$$found -m venv $(VENV)

# A command that prints the oldest of all that are on the PATH.
OLDEST = for python in $$(which -a python3.11 python3.12 python3.13 python3 python); do \
	    "$$python" -c '$(USABLE)' 2>/dev/null && \
	    "$$python" -c 'import sys; print(*sys.version_info[:3], sys.executable)'; \
	done | sort -n -k1,1 -k2,2 -k3,3 | head -n 1 | cut -d " " -f 4-

# One stamp for each set of packages: a second call installs only if pyproject.toml has changed.
$(VENV)/.installed: EXTRAS :=
$(VENV)/.tested: EXTRAS := [test]
$(VENV)/.checked: EXTRAS := [test,dev]
$(VENV)/.installed $(VENV)/.tested $(VENV)/.checked: pyproject.toml | $(BIN)/python
	@echo "installing dlrun$(EXTRAS) and what it needs into $(VENV); the first time takes minutes"
	@$(if $(CONSTRAINTS),$(BIN)/python -m tests.lowest > $(CONSTRAINTS))
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    $(CONSTRAINTS:%=--constraint %) -e '.$(EXTRAS)'
	@touch $@

# Bytecode, also where PYTHONDONTWRITEBYTECODE keeps Python from leaving it: without it each start
# of the command takes a quarter of a second longer.
$(VENV)/.compiled: $(shell find dlrun -name "*.py") | $(BIN)/python
	@$(BIN)/python -m compileall -q dlrun
	@touch $@
