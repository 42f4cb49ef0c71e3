# The commands of the README. Each makes its own environment; nothing needs to be installed by hand
# but Python 3.11+, git and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
# Every other test waits most of its time for real programs: half as many more than processors keep those busy.
TESTERS ?= $(shell $(BIN)/python -c "import os; n = os.cpu_count() or 2; print(n + (n + 1) // 2)")

.PHONY: help demo test soak lint types bench clean

help:
	@echo "make demo    run a server with a farm to look at      (ARGS=\"--port 9000\" is handed on)"
	@echo "make test    everything that guards a change          (ARGS=\"tests/core -k L42\" chooses)"
	@echo "make soak    long simulations and hundreds of faults, for hours   (ARGS=\"tests/core\" chooses)"
	@echo "make bench   the measurements"
	@echo "make lint types    the linters alone"
	@echo "make clean   remove the environment and all caches"
	@echo "PYTHON=python3.12 chooses the Python, VENV=folder the environment's place, TESTERS=4 how many test at once."

demo: $(VENV)/.ready-demo
	@$(BIN)/lockstep demo $(ARGS)

test: $(VENV)/.ready-test lint types
	$(BIN)/python -m pytest -m "not soak" -n $(TESTERS) --dist loadfile $(ARGS)

soak: $(VENV)/.ready-test
	$(BIN)/python -m pytest -m soak -o timeout=7200 -n $(TESTERS) --dist worksteal $(ARGS)

bench: $(VENV)/.ready-test
	$(BIN)/python bench/decide.py $(ARGS)

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-test
	$(BIN)/mypy

# An environment is made anew only when what it is made from has changed.
$(VENV)/.ready-%: pyproject.toml tools/setup.sh tools/assets/package-lock.json
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh tools/setup.sh $*
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks build dist
