# Everything a developer or a curious visitor runs. Needs python3 (3.11 or newer) with venv, and make.

PYTHON ?= python3
ARGS ?=
# Test processes; two are as fast as it gets on two cores.
JOBS ?= 2

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
# Code that exists: a source checkout may come without some of it.
CODE := $(foreach folder,book feeds sinks daemon tests benchmarks,$(if $(wildcard $(folder)/*.py),$(folder)))

# What the caller's shell has set must not change what runs here.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONWARNINGS PYTHONOPTIMIZE PYTHONSAFEPATH PYTHONUSERBASE
unexport VIRTUAL_ENV __PYVENV_LAUNCHER__ MYPYPATH MYPY_CACHE_DIR PYTEST_ADDOPTS PYTEST_PLUGINS RUFF_CONFIG COVERAGE_FILE
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIREMENT PIP_CONSTRAINT PIP_NO_DEPS PIP_DRY_RUN PIP_PYTHON

# run(name,command): say which tool runs, and which one failed.
run = @printf '== %s\n' '$(1)'; $(2) || { printf 'FAILED: %s\n' '$(1)' >&2; exit 1; }

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test lint format coverage bench bench-quick interop faults kills soak lock wheel clean machine audit reference

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# ---------------------------------------------------------------- environment: .runtime, then .project, then .dev

.venv/.runtime: requirements-runtime.lock
	@command -v $(PYTHON) >/dev/null || { echo "skulk needs Python 3.11 or newer: no $(PYTHON) found; try make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "skulk needs Python 3.11 or newer: $(PYTHON) is $$($(PYTHON) --version 2>&1); try make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "== creating .venv with $$($(PYTHON) --version) (once)"
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) install --require-hashes -r requirements-runtime.lock
	@touch $@

.venv/.project: pyproject.toml .venv/.runtime
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements.lock .venv/.runtime | .venv/.project
	@echo "== installing the development tools (once)"
	@$(PIP) install --require-hashes -r requirements.lock
	@touch $@

venv: .venv/.dev ## .venv from the lock file, with all development tools

# ---------------------------------------------------------------- try it

demo: .venv/.project ## simulated venues and the daemon; no network, no key (ARGS="--seconds 10")
	@$(BIN)/skulk demo $(ARGS)

# ---------------------------------------------------------------- check it

test: lint ## everything that must pass: lint, then the tests
	$(call run,pytest,$(BIN)/python -m pytest -q -n $(JOBS) $(ARGS))

lint: .venv/.dev ## the static part: ruff, mypy, import-linter
	$(call run,ruff check,$(BIN)/ruff check --quiet .)
	$(call run,ruff format --check,$(BIN)/ruff format --quiet --check .)
	$(call run,mypy,$(BIN)/python -m mypy --no-error-summary $(CODE))
	$(call run,lint-imports,report=$$($(BIN)/lint-imports --no-cache --no-logo 2>&1) || { printf '%s\n' "$$report"; false; })

format: .venv/.dev ## format the code and fix what can be fixed
	@$(BIN)/ruff check --quiet --fix .; $(BIN)/ruff format .

coverage: .venv/.dev ## the tests with branch coverage
	@$(BIN)/coverage run -m pytest -q $(ARGS)
	@$(BIN)/coverage report

interop: .venv/.dev ## other programs as subscribers
	@$(BIN)/python -m tests.interop $(ARGS)

kills: .venv/.dev ## a thousand random kills of subscribers, network and daemon (ARGS=...)
	@$(BIN)/python -m tests.kills $(ARGS)

faults: .venv/.dev ## the daemon against a misbehaving network (ARGS=...)
	@$(BIN)/python -m tests.faults $(ARGS)

machine: .venv/.dev ## install, break and upgrade under a real systemd (ARGS="ROOT [--wheelhouse DIR]"; needs root)
	@$(BIN)/python -m tests.machine $(ARGS)

audit: .venv/.runtime ## known vulnerabilities of what the lock file pins (needs a network)
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/python -m pip install --disable-pip-version-check --quiet pip-audit; }
	@build/audit/bin/pip-audit --strict --progress-spinner off --disable-pip --require-hashes -r requirements-runtime.lock

reference: .venv/.project ## the pages in docs/ that are made from the source
	@$(BIN)/python -m daemon.reference docs

# ---------------------------------------------------------------- measure it

bench: .venv/.dev ## the benchmarks, beside their peers; writes docs/performance.md (ARGS="--only wire")
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: .venv/.dev ## the benchmarks in under 3 minutes
	@$(BIN)/python -m benchmarks --quick $(ARGS)

soak: .venv/.dev ## an hour under load (ARGS="--seconds 86400" for a day)
	@$(BIN)/python -m benchmarks.soak $(ARGS)

# ---------------------------------------------------------------- release it

UV := build/uv/bin/uv
LOCK := $(UV) pip compile pyproject.toml --no-config --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock" --quiet --group build

lock: ## renew both lock files
	@test -x $(UV) || { $(PYTHON) -m venv build/uv && build/uv/bin/python -m pip install --disable-pip-version-check --quiet uv; }
	$(LOCK) --upgrade --group dev -o requirements.lock
	$(LOCK) --upgrade --constraint requirements.lock --no-annotate -o requirements-runtime.lock

wheel: .venv/.project ## dist/skulk-*.whl
	@$(BIN)/python -m hatchling build -t wheel -d dist

clean: ## remove everything that can be made again
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
