# `make demo` and `make test` do everything on a machine that has Python, git and make: environment, install, run.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= demo
# A test worker for each core, each with one thread.
WORKERS ?= auto

# What is installed is not compiled (--no-compile), and Python keeps what it compiles when it first imports it, also where the
# environment forbids that, as images of containers often do: else each command would compile 4,000 modules of PyTorch and
# Transformers again, which was more than half of its start.
export PYTHONDONTWRITEBYTECODE :=

# Packages with which the tests also read checkpoints as transformers 4 does. They lie beside those of the environment.
OLDER := transformers==4.57.6 tokenizers==0.22.2 huggingface_hub==0.36.2

# Tools that look for security problems. They lie apart, so that what they need changes nothing of the environment.
AUDIT := bandit==1.9.4 pip-audit==2.10.1

# The Pythons of `make test-pythons`: those that pyproject.toml allows.
PYTHONS ?= 3.10 3.11 3.12 3.13
# What `make test-lowest` and `make test-pythons` run: `make test-lowest TESTS=tests/tables` for a part.
TESTS ?= tests

.PHONY: help install demo test test-all test-only test-lowest test-pythons test-python test-newest faults lint audit bench clean
help:
	@echo "make demo   install, then the whole road on sample_data/ (results in $(DEMO)/)"
	@echo "make test   install, then lint, types and the test suite with coverage"
	@echo "make test-all  the same, and what we write is read with transformers 4.57, too"
	@echo "make test-lowest   the suite with the lowest versions of all dependencies (Python 3.10)"
	@echo "make test-newest   the suite with the newest versions that pyproject.toml allows"
	@echo "make test-pythons  the suite on each of $(PYTHONS), before a release"
	@echo "make faults  kills, full disks, damaged files and more, for about an hour (ARGS=--help)"
	@echo "make audit  bandit over the code, and known vulnerabilities of the pinned packages"
	@echo "make bench  install, then the benchmarks in tests/benchmarks (ratios against named peers)"
	@echo "make clean  remove $(VENV) and $(DEMO)"

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c .ci/constraints.txt

# The stamps are newer than what decides what is installed: a second `make` starts at once. Two processes unpack the large
# packages: torch has about as many bytes as all others, and shares no file with those that do not need it.
$(VENV)/.needed: pyproject.toml .ci/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 14) else "gti needs Python 3.10 to 3.13: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps torch & torch=$$!; $(PIP) datasets faiss-cpu matplotlib scikit-learn transformers && wait $$torch
	$(PIP) -e .
	touch $@

$(VENV)/.installed: $(VENV)/.needed
	$(PIP) -e '.[encoders,gguf,serve,dev]'
	touch $@

install: $(VENV)/.installed

# The demo needs neither extras nor what the tests need.
demo: $(VENV)/.needed
	PATH="$(abspath $(BIN)):$$PATH" bash sample_data/run.sh $(DEMO)

test: install
	$(MAKE) -j2 lint test-only

# SlipCover takes its marks out of lines that have run, so that trainings are not slowed down. Its own --fail-under does
# not see what test workers ran; that of a merge does. The bound is on lines and branches together.
test-only: install
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 \
	$(BIN)/python -W "ignore:Unable to activate pytest branch coverage" -m slipcover --branch --json --out .coverage.json \
	  -m pytest -n $(WORKERS) --dist worksteal
	$(BIN)/python -m slipcover --merge .coverage.json --out .coverage.json --fail-under 95

$(VENV)/transformers4/.installed: $(VENV)/.installed Makefile
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --target $(@D) $(OLDER)
	touch $@

test-all: install $(VENV)/transformers4/.installed
	GTI_TRANSFORMERS4="$(abspath $(VENV))/transformers4" $(MAKE) -j2 lint test-only

# Quietly: no coverage, and in an environment of its own for each.
QUIETLY = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
UNPINNED = -m pip install --quiet --disable-pip-version-check --no-compile
TOOLS := httpx2 hypothesis ipykernel nbclient pytest pytest-xdist slipcover

# .ci/lowest.txt is what `uv pip compile --resolution lowest-direct --python-version 3.10` chooses.
test-lowest:
	@$(call find-python,3.10) && "$$python" -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python $(UNPINNED) -c .ci/lowest.txt -e '.[encoders,gguf,serve]' $(TOOLS)
	$(QUIETLY) $(VENV)-lowest/bin/python -m pytest -n $(WORKERS) $(TESTS)

test-newest:
	$(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python $(UNPINNED) --upgrade --upgrade-strategy eager -e '.[encoders,gguf,serve]' $(TOOLS)
	$(QUIETLY) $(VENV)-newest/bin/python -m pytest -n $(WORKERS) $(TESTS)

# One after another, even with make -j: each suite has a test worker for each core.
test-pythons:
	@set -e; for version in $(PYTHONS); do $(MAKE) test-python VERSION="$$version"; done

test-python:
	@$(call find-python,$(VERSION)) && echo "Python $(VERSION): $$python" && \
	$(MAKE) install PYTHON="$$python" VENV="$(VENV)-$(VERSION)"
	$(QUIETLY) "$(VENV)-$(VERSION)/bin/python" -m pytest -n $(WORKERS) $(TESTS)

# Sets $$python: one on the path, else one of pyenv, else one that uv brings.
find-python = python=; for found in python$(1) $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$(1).*/bin/python; do \
	  if "$$found" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' $(1) 2>/dev/null; then python="$$found"; break; fi; \
	  done; [ -n "$$python" ] || { uv python install --quiet $(1) && python=$$(uv python find $(1)); } || \
	  { echo "Python $(1) is neither on the path nor in pyenv, and uv cannot bring it: install it, or uv" >&2; false; }

faults: install
	$(QUIETLY) $(BIN)/python -m tests.faults $(ARGS)

lint: install
	$(BIN)/ruff check gti_cli tests sample_data .ci
	$(BIN)/ruff format --check gti_cli tests sample_data .ci
	$(BIN)/mypy

# Where the tools cannot be installed (without a network), that is said, and nothing fails.
audit: install
	test -d $(VENV)/audit/pip_audit || { rm -rf $(VENV)/audit; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --target $(VENV)/audit $(AUDIT); } || \
	{ rm -rf $(VENV)/audit; echo "audit: not run, since its tools cannot be installed here"; }
	test ! -d $(VENV)/audit || PYTHONPATH="$(VENV)/audit" $(BIN)/python .ci/audit.py

bench: install
	$(BIN)/python -m pytest tests/benchmarks --run-benchmarks -s -n 0

clean:
	rm -rf $(VENV) $(VENV)-* faults-run $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage.json
