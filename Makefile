# The commands a person needs; the work is done by scripts/ and CMake. `make help` lists them.
# JOBS=N limits parallel compilation.
SHELL := /bin/bash
BUILD ?= build
export BUILD_DIR := $(BUILD)
PYTHON := .venv/bin/python
PARITY_PYTHON := .venv-parity/bin/python
# Tests are many small programs: one thread each, as many programs as cores.
TEST_JOBS ?= $(shell nproc)
FORMATTED = $(shell git ls-files 'src/*.h' 'src/*.cpp' 'tests/*.h' 'tests/*.cpp' 'examples/*.cpp' 'tools/*.cpp')

.PHONY: help setup build quickstart test parity parity-quick format format-check tidy layers check clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

setup: ## install what the build needs (Debian packages, torch into .venv)
	@scripts/setup.sh build

build: setup ## build/lorikeet
	@scripts/build.sh

quickstart: build ## train a DreamBooth LoRA on the embedded model and draw with it (at most 4 minutes)
	@scripts/quickstart.sh

test: ## build and run every test that needs no Python torch (at most 10 minutes)
	@scripts/setup.sh test
	@scripts/build.sh tests
	OMP_NUM_THREADS=1 ctest --test-dir $(BUILD) --output-on-failure --no-tests=error -j $(TEST_JOBS)

parity: ## live comparisons with Diffusers, Transformers and PEFT, all of them (installs 6 GB)
	@scripts/setup.sh parity
	@scripts/build.sh tests
	$(PARITY_PYTHON) -m pytest tests/parity -ra --durations=10

parity-quick: ## the quick part of the comparisons (what CI runs)
	@scripts/setup.sh parity
	@scripts/build.sh tests
	$(PARITY_PYTHON) -m pytest tests/parity -ra --durations=10 -m "not full"

format: ## rewrite the sources with clang-format
	clang-format -i $(FORMATTED)

format-check:
	clang-format --dry-run --Werror $(FORMATTED)

tidy: setup ## clang-tidy's short list, as errors
	@scripts/tidy.sh

layers: ## includes go down only (docs/architecture.md)
	@/usr/bin/python3 scripts/check_layers.py

check: format-check layers tidy ## everything a reviewer would complain about, before they do

clean: ## remove the build folders (the venvs stay)
	rm -rf build build-dev build-asan build-tidy build-coverage lorikeet-quickstart
