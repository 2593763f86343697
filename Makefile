# Every target does its own set-up in .venv. TORCH says which build of torch to install: see the README for CPU and GPU.
PYTHON ?= python3
TORCH ?= torch==2.13.0
DATA ?= ../shared/data
BIN := .venv/bin

.PHONY: demo test real bench long check format clean

demo: .venv/ready
	$(BIN)/squeeze demo

# A process for each core, a file at a time, in the order of tests/conftest.py; what is marked slow runs in `make long`.
# Bytecode is kept whatever the environment says: without it every process compiles all modules anew.
test: .venv/ready
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

real: .venv/ready
	$(BIN)/squeeze real configs/hourly-btc-2026.yaml configs/prints-btc-2024.yaml --data $(DATA) $(if $(AFTER),--after $(AFTER))

bench: .venv/ready .venv/bench
	$(BIN)/python -m tests.benchmarks.bench --json out/bench.json $(addprefix --model ,$(wildcard out/demo/model.onnx))

long: .venv/ready # the laws that take minutes, of which `make test` has a short version: more frames, steps, states
	FUZZ_FRAMES=1000000 $(BIN)/python -m pytest -q -n auto --dist load -rP tests/test_fuzz_frames.py -k spoilt
	MANY_STEPS=100000 $(BIN)/python -m pytest -q tests/test_heatmap_laws.py tests/test_zone_tracking.py -k many_steps
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist load -m slow
	SEQUENCES=40 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist load tests/test_signals_laws.py
	PARITY_STATES=10000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist load tests/test_cores.py -k exported_graph

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf out .pytest_cache .mypy_cache .ruff_cache

.venv/bench: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	touch $@

# torch first and by itself: an open range would bring gigabytes of CUDA packages.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train,dev]"
	touch $@
