# Two commands set up everything on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
#
# PYTHON       the interpreter to build .venv with (default: python3)
# TORCH_INDEX  an extra package index for torch, say PyTorch's CPU wheels; a wheel that pip finds locally serves too

PYTHON ?= python3
VENV   ?= .venv
BENCH  ?= .venv-bench
OLDEST ?= .venv-oldest
LOIHI  ?= .venv-loihi
BIN    := $(VENV)/bin
INDEX  := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo test test-brian2 test-triton test-loihi check fuzz bench clean

demo: $(VENV)/installed-all
	$(BIN)/snubridge demo --out out

# A file of tests stays on one process: some draw from one generator, in their order.
test: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

check: test

# Brian2's compiled targets on random graphs: Cython, and C++ projects; minutes on two cores with nothing compiled before.
test-brian2: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m compiled tests/adapters/brian2

# The Triton kernels without a GPU: hundreds compiled ahead of time, all of it interpreted; then the same with the oldest
# Triton and PyTorch, whose packages bring CUDA along (some 5 GB).
test-triton: $(VENV)/installed-dev $(OLDEST)/installed
	$(call test-triton,$(BIN))
	$(call test-triton,$(OLDEST)/bin)

# The tests are skipped where Triton is missing: here that is an error.
define test-triton
$(1)/python -c 'import triton'
OMP_NUM_THREADS=1 $(1)/python -m pytest -n auto -m ahead tests/nn/kernels/triton
OMP_NUM_THREADS=1 TRITON_INTERPRET=1 $(1)/python -m pytest -n auto tests/nn/kernels/triton
endef

$(OLDEST)/installed: pyproject.toml constraints-oldest.txt | $(OLDEST)/bin/python
	$(OLDEST)/bin/python -m pip install --disable-pip-version-check --progress-bar on \
	  -c constraints-oldest.txt -e '.[triton]' pytest pytest-timeout pytest-xdist
	touch $@

# Nengo's profile "loihi" on the emulator of nengo-loihi, which needs numpy below 2.
test-loihi: $(LOIHI)/installed
	$(LOIHI)/bin/python -c 'import nengo_loihi'
	OMP_NUM_THREADS=1 $(LOIHI)/bin/python -m pytest tests/adapters/nengo/loihi tests/exactness/test_loihi.py

$(LOIHI)/installed: pyproject.toml constraints-loihi.txt | $(LOIHI)/bin/python
	$(LOIHI)/bin/python -m pip install --disable-pip-version-check --progress-bar on $(INDEX) \
	  -c constraints-loihi.txt -e '.[torch]' nengo nengo-loihi scipy scikit-learn music21 tqdm pytest pytest-timeout
	touch $@

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

$(BIN)/python $(BENCH)/bin/python $(OLDEST)/bin/python $(LOIHI)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'snubridge needs Python 3.11 or newer: make PYTHON=/path/to/it'; exit 2; }
	$(PYTHON) -m venv $(@:/bin/python=)

clean:
	rm -rf $(VENV) $(BENCH) $(OLDEST) $(LOIHI) out dist build .pytest_cache .mypy_cache .ruff_cache
