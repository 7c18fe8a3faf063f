# make demo: plan and act in MuJoCo with the shipped checkpoints.   make test: what CI runs.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
TORCH ?= 2.13.0
# Builds of PyTorch without CUDA; where this address cannot be reached, pip takes the build that it finds.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: demo test lint clean

demo: $(VENV)/ready
	$(BIN)/thalweg evaluate checkpoints/cube-single-play --episodes 10 --report build/demo/report.html
	$(BIN)/thalweg evaluate checkpoints/long-horizon --episodes 2 --no-floor --report build/demo/long-horizon.html

test: $(VENV)/ready lint
	$(BIN)/python -m pytest

lint: $(VENV)/ready
	$(BIN)/ruff check src tests examples recipes benchmarks
	$(BIN)/ruff format --check src tests examples recipes benchmarks

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq --disable-pip-version-check --retries 0 --no-deps --extra-index-url $(TORCH_INDEX) torch==$(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build
