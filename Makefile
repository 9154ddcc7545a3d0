# Two commands set up everything on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
#
# PYTHON       the interpreter to build .venv with (default: python3)
# TORCH_INDEX  an extra package index for torch, say PyTorch's CPU wheels; a wheel that pip finds locally serves too

PYTHON ?= python3
VENV   ?= .venv
BENCH  ?= .venv-bench
BIN    := $(VENV)/bin
INDEX  := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo test test-brian2 check fuzz bench clean

demo: $(VENV)/installed-all
	$(BIN)/snubridge demo --out out

test: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not compiled'

check: test

# Brian2's compiled targets on random graphs: Cython, and C++ projects; five minutes on two cores with nothing compiled before.
test-brian2: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m compiled tests/adapters/brian2

# 100,000 mutated files for each reader; `make test` reads 10,000.
fuzz: $(VENV)/installed-dev
	SNUBRIDGE_FUZZ=100000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/hostile/test_fuzz.py

# Training beside other packages, which have an environment of their own.
bench: $(BENCH)/installed
	OMP_NUM_THREADS=1 $(BENCH)/bin/python benchmarks/training.py --compile \
	  --out benchmarks/results/training.json --markdown benchmarks/results/training.md

$(BENCH)/installed: pyproject.toml constraints.txt benchmarks/requirements.txt | $(BENCH)/bin/python
	$(BENCH)/bin/python -m pip install --disable-pip-version-check --progress-bar on $(INDEX) \
	  -c constraints.txt -r benchmarks/requirements.txt -e '.[torch]'
	touch $@

# One environment in two stages: what runs, then the gates. Each stage is remade when what it installs has changed.
$(VENV)/installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on $(INDEX) -c constraints.txt -e '.[$*]'
	touch $@

$(BIN)/python $(BENCH)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'snubridge needs Python 3.11 or newer: make PYTHON=/path/to/it'; exit 2; }
	$(PYTHON) -m venv $(@:/bin/python=)

clean:
	rm -rf $(VENV) $(BENCH) out dist build .pytest_cache .mypy_cache .ruff_cache
