# `make demo` and `make test` need nothing but Python ≥ 3.11 and a package registry; both work offline once set up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
.DEFAULT_GOAL := help
.PHONY: help setup demo train sample eval test test-unit lint type bench clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "%-10s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv with the tested versions

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## get MNIST, train two or three minutes on a CPU, sample, evaluate
	$(BIN)/ganctl data fetch mnist
	$(BIN)/ganctl train +experiment=quick
	$(BIN)/ganctl sample --label 5 --n 64 --out demo/five.png
	$(BIN)/ganctl sample --label all --n 8 --out demo/all.png
	$(BIN)/ganctl eval --ckpt last.ckpt --metrics fast --out demo/eval.json
	@echo "pictures: demo/five.png, demo/all.png, demo/eval.confusion.png; grids of every epoch in the run's samples/"

train: setup ## the headline recipe (ARGS="model.lr=1e-4" adds overrides)
	$(BIN)/ganctl train +experiment=dcgan $(ARGS)

sample: setup ## sixty-four fives from the newest run (ARGS="--label 3")
	$(BIN)/ganctl sample --label 5 --n 64 $(ARGS)

eval: setup ## score the newest run
	$(BIN)/ganctl eval --ckpt last.ckpt $(ARGS)

test: setup ## all tests, two at a time
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-unit: setup ## the fast tests alone, on two cores
	$(BIN)/python -m pytest tests/unit -m 'not slow' -n 2 $(ARGS)

lint: setup ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup ## mypy
	$(BIN)/mypy

bench: setup ## start-up, training, sampling; wants MNIST and a quiet machine (ARGS="--parts step --rounds 5")
	$(BIN)/python scripts/bench_cli.py
	$(BIN)/python scripts/bench.py $(ARGS)

clean: ## remove caches and build output; runs and .venv stay
	rm -rf build dist demo .mypy_cache .ruff_cache .pytest_cache
	find ganctl tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
