# make demo: plan and act in MuJoCo with the shipped checkpoint.   make test: what CI runs.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
TORCH ?= 2.13.0

.PHONY: demo test lint clean

demo: $(VENV)/ready
	$(BIN)/thalweg evaluate checkpoints/cube-single-play --episodes 10 --report build/demo/report.html

test: $(VENV)/ready lint
	$(BIN)/python -m pytest

lint: $(VENV)/ready
	$(BIN)/ruff check src tests examples recipes
	$(BIN)/ruff format --check src tests examples recipes

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==$(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build
