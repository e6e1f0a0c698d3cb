# Signal Hub: `make help` lists what there is. Needs Python 3.11 to 3.13 and nothing else.

VENV := .venv
BIN := $(VENV)/bin
NODE := clients/typescript tests/commerce/webhooks/node tests/aggregator/transparency/node
# A Python of your choice, as PYTHON=/opt/python3.12/bin/python3; else the first of the PATH that works.
PYTHON ?=
# Real producers, which the tests send from where they are installed. Their pins conflict with the hub's.
PRODUCERS := freqtrade==2026.9 nautilus_trader==1.221.0
COMPILE := uv pip compile --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url -q
# Modules are compiled when they are first imported: compiling all of them takes longer than installing.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
# Whatever the shell says: else each of the hundreds of programs that the tests start would compile them anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test lint types tests attacks bench producers dist format lock clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-9s %s\n' "$$name" "$$text"; done

run: $(VENV)/run ## Run the hub here: servers, workers, demo agents (PORT=8000, DEMO=off)
	@$(BIN)/python -m config.local

test: lint ## Lint, types and the whole test suite, on real Postgres and Redis
	@$(MAKE) --no-print-directory --jobs=2 types tests

lint: $(VENV)/dev ## Lint, format check, and which package may import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

# The Django plugin reads the settings, which refuse to load without these; nothing connects.
types: $(VENV)/dev ## Types
	SIGNAL_HUB_DOTENV=off DJANGO_SECRET_KEY=types CORE_AUTH_SECRET=only-for-types CORE_DB_URL=postgres://127.0.0.1/types \
		$(BIN)/mypy config aggregator commerce ecosystems clients/python

tests: $(VENV)/dev $(NODE:=/node_modules) ## The test suite alone (ARGS="-k name" chooses)
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

attacks: $(VENV)/dev ## The attacks that the hub must withstand (tests/security/attacks.py)
	$(BIN)/python -m pytest $$($(BIN)/python -m tests.security)

bench: $(VENV)/benchmarks ## The benchmarks against their peers, one table (RACES="drain web" chooses)
	@$(BIN)/python -m benchmarks $(RACES)

producers: $(VENV)/run ## Install freqtrade and NautilusTrader, which the tests then send from (1.5 GB)
	@for package in $(PRODUCERS); do \
		folder=.producers/$${package%%=*} && $(BIN)/python -m venv $$folder && \
		$$folder/bin/python -m pip install --quiet --disable-pip-version-check $$package || exit 1; \
	done

dist: $(VENV)/dev ## Build the agents' wheel into dist/
	@$(BIN)/python clients/python/build_wheel.py dist

format: $(VENV)/dev ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: ## Compile the requirements anew (needs uv)
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) -c requirements.txt ecosystems/requirements-agent.in -o ecosystems/requirements-agent.txt
	$(COMPILE) requirements-run.in -o requirements-run.txt
	$(COMPILE) requirements-dev.in -o requirements-dev.txt
	$(COMPILE) requirements-bench.in -o requirements-bench.txt

clean: ## Remove the virtual environment and caches; data and .env stay
	rm -rf $(VENV) $(NODE:=/node_modules) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist clients/typescript/dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each candidate is executed: a version manager's shim may exist and still not run.
define FIND_PYTHON
suits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
bare=
IFS=:
for name in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3); do
  for folder in $$PATH; do
    case "$$name" in */*) candidate=$$name ;; *) candidate=$$folder/$$name ;; esac
    "$$candidate" -c "$$suits" >/dev/null 2>&1 || continue
    if "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then echo "$$candidate"; exit 0; fi
    bare=$${bare:-$$candidate}
  done
done
if [ "$$bare" ]; then
  echo "signal-hub: $$bare cannot make virtual environments: apt-get install python3-venv" >&2
else
  echo "signal-hub: no Python 3.11 to 3.13 found$(if $(PYTHON), as $(PYTHON)): install one, or make PYTHON=/path/to/python3" >&2
fi
exit 1
endef
export FIND_PYTHON

# Each stamp is newer than what its packages were installed from.
$(VENV)/run: requirements.txt requirements-run.txt
	@$(BIN)/python -c 'import pip' 2>/dev/null || { \
		python=$$(sh -c "$$FIND_PYTHON") && \
		echo "Making $(VENV) with $$python …" && \
		"$$python" -m venv --clear $(VENV); }
	@echo "Installing what the hub needs into $(VENV), which takes a minute …"
	@$(INSTALL) -r requirements.txt -r requirements-run.txt
	@touch $@

$(VENV)/dev: $(VENV)/run requirements-dev.txt
	@echo "Installing what the tests need into $(VENV), which takes a minute …"
	@$(INSTALL) -r requirements-dev.txt
	@touch $@

# The compiler of the TypeScript client, and the independent verifiers of outgoing webhooks and of the transparency
# log. Without them the suite only skips what needs them.
%/node_modules: %/package-lock.json
	@if ! command -v npm >/dev/null; then \
		echo "No npm here: the checks with npm's packages in $* are skipped."; \
	elif ! (cd $* && npm ci --silent --no-audit --no-fund --ignore-scripts \
			--fetch-retries=1 --fetch-timeout=20000); then \
		rm -rf $@; \
		echo "npm cannot install: the checks with npm's packages in $* are skipped."; \
	else touch $@; fi

$(VENV)/benchmarks: $(VENV)/dev requirements-bench.txt
	@echo "Installing the benchmarks' peers into $(VENV) …"
	@$(INSTALL) -r requirements-bench.txt
	@touch $@
