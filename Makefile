# Every target works as the first command after a clone: `setup` does what is not done yet.
PYTHON ?= python3
BIN := .venv/bin

# So that .venv is all that counts, whatever else this shell is set up for.
unexport PYTHONPATH PYTHONHOME

.PHONY: help setup demo small-models test nightly bench lint format lock clean

help:
	@echo 'make setup    create .venv and install everything into it'
	@echo 'make demo     the plugin at work; your own pictures: make demo DATA=folder'
	@echo 'make small-models DATA=folder   train the models that ship: hours; options: ARGS="..."'
	@echo 'make test     check the style and types, run the tests; some of them: make test ARGS="-k codec"'
	@echo 'make nightly  fuzz tests with 2000 other cases each, killed trainings: an hour; or CASES=500'
	@echo 'make bench    stock MMPose and this package, timed side by side: make bench ARGS="--quick"'
	@echo 'make lint     only check the style and types'
	@echo 'make format   format the code and mend what ruff can mend'
	@echo 'make lock     renew install/requirements.txt after a change of requirements.in'
	@echo 'make clean    delete .venv and every other file that can be made again'

setup:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 8))' || { echo 'Setup failed: "$(PYTHON)" is not' \
		'a Python 3.8 or later. Install one, or name it: make setup PYTHON=/usr/bin/python3.11' >&2; exit 1; }
	@$(PYTHON) install/bootstrap.py

demo: setup
	@PYTHONPATH=examples $(BIN)/python -P -W ignore -m demo $(if $(DATA),--data "$(DATA)")

small-models: setup
	@PYTHONPATH=examples $(BIN)/python -P -W ignore -m small_models "$(DATA)" $(ARGS)

# One thread per process: the processes already use every core.
test: export OMP_NUM_THREADS = 1
test: lint
	@$(BIN)/pytest -n auto --maxprocesses 8 --dist worksteal $(ARGS)

# Every run tries other cases; a failure prints how to repeat it.
CASES ?= 2000
nightly: export OMP_NUM_THREADS = 1
nightly: setup
	@MSPN_FUZZ_CASES=$(CASES) $(BIN)/pytest tests/fuzz tests/security -n auto --maxprocesses 8 --dist worksteal $(ARGS)
	@$(BIN)/pytest -m nightly -n 2 $(ARGS)

bench: setup
	@PYTHONPATH=benchmarks:examples $(BIN)/python -P -W ignore -m versus_mmpose $(ARGS)

lint: setup
	@$(BIN)/ruff format --check --quiet || { echo 'Mend it with: make format' >&2; exit 1; }
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy

format: setup
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

lock:
	@$(PYTHON) install/bootstrap.py lock

clean:
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
