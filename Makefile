# Refdesk: every command a person needs. A fresh machine needs Python 3.11 or newer, make and a C library.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV ?= .venv
PORT ?= 8080
DATA ?= .refdesk
DOCS ?=
N ?= 40
SEED ?= 20261124
# Test processes: one more than the cores of a small machine, since many tests wait for servers and leases.
AT_ONCE ?= 3
BROKER ?= redis,rabbitmq
WIPES ?= 2
SETS ?=
ROUNDS ?= 3
ONLY ?=
CHUNKS ?= 1000 10000
export VENV

.PHONY: help setup setup-dev setup-vllm run test lint audit-dependencies format faults bench bench-size bench-lock lock clean

help:  ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## Install the desk into .venv
	@requirements/setup.sh base

setup-dev:
	@requirements/setup.sh dev

setup-vllm:  ## Install the real vLLM (CPU build) into .venv-vllm, for its test tier
	@tests/vllm/setup_vllm.sh

run: setup  ## Index DOCS (default: the sample handbook) and serve on http://127.0.0.1:PORT
	@REFDESK_PORT=$(PORT) REFDESK_DATA=$(DATA) $(VENV)/bin/refdesk up \
	  $(if $(DOCS),--docs "$(DOCS)",--docs sample/handbook --directory sample/directory.toml \
	    --ask "How many days of annual leave do people with a Zaragoza contract have?")

lint: setup-dev  ## Format check, lint, types, import contracts
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: setup-dev  ## Format the code and mend what can be mended
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

test: setup-dev  ## Run every test tier that this machine can support, in the order that SEED shuffles them to
	@$(VENV)/bin/python -m pytest -n $(AT_ONCE) --dist loadgroup -rsfE --randomly-seed=$(SEED)

audit-dependencies: setup-dev  ## Look for known vulnerabilities of the pinned versions (needs a network)
	@requirements/audit.sh

faults: setup-dev  ## Kill workers, brokers, databases: N=40 DOCS=400 SEED=1 BROKER=redis,rabbitmq WIPES=2
	@REFDESK_FAULT_N=$(N) REFDESK_FAULT_N_DOCS=$(DOCS) REFDESK_FAULT_BROKER=$(BROKER) REFDESK_FAULT_SEED=$(SEED) \
	  REFDESK_FAULT_WIPES=$(WIPES) $(VENV)/bin/python -m pytest -p no:randomly -rsfE tests/faults \
	  --ignore=tests/faults/test_killed_desk.py

bench: setup-dev  ## Refdesk beside LlamaIndex, Haystack, txtai: SETS="folder …" ROUNDS=3 ONLY="rival …"
	@$(VENV)/bin/python -m benchmarks.rivals $(SETS) --rounds $(ROUNDS) $(if $(ONLY),--only $(ONLY))

bench-size: setup-dev  ## Cost of index and search against size: CHUNKS="1000 10000"
	@$(VENV)/bin/python -m benchmarks.size --chunks $(CHUNKS)

bench-lock:  ## Resolve the rivals' versions anew
	@cd benchmarks/rivals && for name in llamaindex haystack txtai; do ../../$(VENV)/bin/uv pip compile --quiet \
	    --universal --python-version 3.11 --generate-hashes --override ../../requirements/overrides.txt \
	    --no-emit-package torch $$name.in -o $$name.lock; done

lock:  ## Resolve requirements/*.in anew (needs uv)
	@cd requirements && compile() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --override overrides.txt --no-emit-package torch "$${@:2}" -o $$1.lock; }; \
	  compile base query.in base.in && for name in scale api dev; do compile $$name $$name.in; done

clean:  ## Remove environments and caches; state folders stay
	@rm -rf $(VENV) .venv-vllm .venv-bench .bench .mypy_cache .ruff_cache .hypothesis
