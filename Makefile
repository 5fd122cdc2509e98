# Everything is made by `make up` (runs the platform) and `make test` (passes all tests). `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
STACK ?= dev
PYTHON ?= python3.11
# One worker for the tests of the cluster that runs, one for those that start their own, one for the rest.
TEST_WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip
export UV_NO_PROGRESS := 1

.PHONY: help setup up preview down clean status test lint lock

help: ## Lists the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  \1\t/' | expand -t 14

setup: $(VENV)/.ready policies/.venv/.ready ## Makes the Python environments under .venv and policies/.venv

$(VENV)/.ready: requirements/dev.txt requirements/uv.txt pyproject.toml
	@echo "==> tools: Python environment"
	@ops/bootstrap.sh $(PYTHON) $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(UV) sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

policies/.venv/.ready: policies/requirements.txt | $(VENV)/.ready
	@echo "==> tools: policy environment"
	@rm -rf policies/.venv && $(BIN)/python -m venv --without-pip policies/.venv
	@$(UV) sync --quiet --compile-bytecode --python policies/.venv/bin/python --require-hashes policies/requirements.txt
	@touch $@

up: setup ## Sets everything up and deploys stack dev on this machine; ends by calling the servers' tools
	@$(BIN)/sophia local up --stack $(STACK)

preview: setup ## The plan of a stack with policy findings (STACK=prod for another); needs no root, cluster or Docker
	@$(BIN)/sophia preview --stack $(STACK) --engine embedded

status: setup ## What runs on this machine
	@$(BIN)/sophia local status

down: setup ## Removes the platform with its data and stops the cluster; images stay
	@$(BIN)/sophia local down --stack $(STACK)

clean: setup ## Removes the platform, the cluster and their data
	@$(BIN)/sophia local clean --stack $(STACK)

test: setup ## Sets everything up and passes all tests
	@$(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadgroup $(PYTEST_ARGS)

lint: setup ## ruff, mypy, import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
	@cd policies && ../$(BIN)/mypy --strict --config-file= --python-executable .venv/bin/python --explicit-package-bases .

lock: ## Compiles the hash-pinned requirement sets anew from pyproject.toml and the *.in files
	@for set in base:"" dev:"--extra test --extra dev"; do \
	  $(UV) compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 $${set#*:} pyproject.toml -o requirements/$${set%%:*}.txt; done
	@grep -E '^uv==' -A 40 requirements/dev.txt | sed -n '1p;2,$${/^[^ ]/q;p}' | grep -v '# via' > requirements/uv.txt
	@for set in policies app_images/*/; do set=$${set%/}; [ -f $$set/requirements.in ] || continue; \
	  excludes=$$([ -f $$set/excludes.txt ] && echo --excludes $$set/excludes.txt); \
	  $(UV) compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 $$excludes $$set/requirements.in -o $$set/requirements.txt; done
