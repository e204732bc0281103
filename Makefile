# Thin names over real commands. `make` lists them.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
ifeq ($(strip $(PYTHON)),)
PYTHON := python3
endif
BIN := .venv/bin
TESTS ?=
SECONDS ?= 300
EXAMPLES ?= 200

.DEFAULT_GOAL := help
.PHONY: help run test bench drills soak check fix lock clean venv venv-dev

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1  @/p' Makefile | awk -F@ '{ printf "%-14s%s\n", $$1, $$2 }'

run: venv ## start everything here: Redis, worker, dashboard, a mail inbox, demo traffic (DEMO=0: none)
	@exec $(BIN)/python -m demo

test: venv-dev ## the whole suite (TESTS=tests/unit for a part)
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(TESTS)

bench: venv-dev ## the benchmarks, each beside a peer in the same run
	@$(BIN)/python -m benchmarks

drills: venv-dev ## the fault matrix: break each part under load and count (about 5 minutes)
	@$(BIN)/python -m benchmarks.drills.faults

soak: venv-dev ## five minutes of random faults, then a larger state machine (SECONDS=30 for a short one)
	@SECONDS_TO_RUN=$(SECONDS) $(BIN)/python -m benchmarks.drills.soak
	@MACHINE_SEED=random MACHINE_EXAMPLES=$(EXAMPLES) MACHINE_STEPS=60 $(BIN)/python -m pytest -n 0 tests/engine/test_machine.py

check: venv-dev ## format, lint, types, layers, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python demo/audit.py

fix: venv-dev ## format and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: venv-dev ## resolve requirements*.in again, pinned and hashed, for Python 3.11 to 3.14
	@command -v uv >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv
	@for name in requirements requirements-embedded requirements-dev; do \
	  PATH="$$PATH:$(BIN)" uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-emit-index-url --no-emit-find-links $$name.in -o $$name.txt || exit 1; done

clean: ## remove what make run made (asks before it removes data)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ -d var ]; then printf 'Remove the data in var as well (jobs, database, mails)? [y/N] '; \
	  read answer || answer=n; case "$$answer" in y|Y|yes) rm -rf var; echo removed;; *) echo kept;; esac; fi

venv:
	@$(PYTHON) demo/install.py

venv-dev:
	@$(PYTHON) demo/install.py dev
