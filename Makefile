# Coincast: the make targets of the repository. `make` prints them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := proto/gen libs/chassis libs/modelkit libs/sandbox libs/stack libs/client \
            gateway market-data-svc forecast-svc training-svc
SOURCES := $(patsubst %,%/src,$(filter-out proto/gen,$(PACKAGES)))
MODULES := chassis modelkit sandbox stack client gateway market_data forecast training
PROJECTS := $(patsubst %,%/pyproject.toml,$(PACKAGES))

# Variables of `make run` and `make demo`; no other target gets them.
UPSTREAM ?= auto
PORT ?= 8000
COIN ?= bitcoin
DAYS ?= 7
MODEL ?= lightgbm
TRAIN ?= 0
DATA ?= $(wildcard ../shared/data/daily)
run demo: export UPSTREAM := $(UPSTREAM)
run demo doctor: export PORT := $(PORT)
run demo: export COIN := $(COIN)
run demo: export DAYS := $(DAYS)
run demo: export MODEL := $(MODEL)
run demo: export TRAIN := $(TRAIN)
run demo: export DATA := $(DATA)
up down: export PORT := $(PORT)

# COMPILE= leaves out the byte code of modules that may not be imported.
COMPILE ?= --compile-bytecode
# uv prints what it resolves, downloads and installs on a terminal; a log gets one line before and one after.
define install
	@echo "Coincast: installing $(1), a few hundred MB the first time (quick afterwards)"
	@began=$$(date +%s); \
	( $(BIN)/uv pip install --python $(BIN)/python --require-hashes $(COMPILE) -r $(1) 2>&1 \
	    | grep --line-buffered -E '^(Resolved|Prepared|Downloading|Installed|Bytecode|error|warning: Failed)|^  ?[×╰]'; \
	  exit $${PIPESTATUS[0]} ) \
	    || $(BIN)/python -m pip install --require-hashes -r $(1); \
	$(BIN)/uv pip install --python $(BIN)/python --quiet --offline --no-deps --no-build-isolation $(patsubst %,-e ./%,$(PACKAGES)) \
	    && echo "Coincast: installed in $$(( $$(date +%s) - began )) s"
	@touch $@
endef

$(VENV)/.uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Coincast needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Coincast: making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "python's venv module is missing: apt-get install python3-venv"; exit 2; }
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.run: $(VENV)/.uv requirements/run.txt $(PROJECTS)
	$(call install,requirements/run.txt)

$(VENV)/.dev: $(VENV)/.uv requirements/dev.txt $(PROJECTS)
	$(call install,requirements/dev.txt)
	@touch $(VENV)/.run

.PHONY: help
help: ## Print this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(VENV)/.dev ## Install the requirements for development into .venv

$(VENV)/.lstm: $(VENV)/.run requirements/training-lstm.txt
	$(call install,requirements/training-lstm.txt)

GENERATORS := $(VENV)-generators
$(GENERATORS)/.ready: $(VENV)/.uv requirements/generators.txt tests/contract/gateway/generators/package-lock.json
	@echo "Coincast: installing the generators of clients that tests use"
	@$(PYTHON) -m venv $(GENERATORS)
	@$(BIN)/uv pip install --quiet --python $(GENERATORS)/bin/python --require-hashes -r requirements/generators.txt \
	    || $(GENERATORS)/bin/python -m pip install --quiet --require-hashes -r requirements/generators.txt
	@if command -v npm >/dev/null; then \
	    cp tests/contract/gateway/generators/package*.json $(GENERATORS)/ && (cd $(GENERATORS) && npm ci --silent --no-audit --no-fund) \
	        || echo "Coincast: npm could not install; the test of a TypeScript client is skipped"; \
	 else echo "Coincast: npm is not installed; the test of a TypeScript client is skipped"; fi
	@touch $@

.PHONY: setup-generators
setup-generators: $(GENERATORS)/.ready ## Install the generators of Python and TypeScript clients that `make test` uses

.PHONY: setup-lstm
setup-lstm: $(VENV)/.lstm ## Install TensorFlow (about 500 MB), which training the lstm needs

.PHONY: run
run: $(VENV)/.run ## Start the whole system on this machine: UPSTREAM=auto|coingecko|sandbox COINGECKO_API_KEY= DATA=dir PORT=8000 REDIS_URL=
	@exec $(BIN)/python -m coincast_stack run

.PHONY: demo
demo: $(VENV)/.run ## Start the system, print one forecast and exit: DATA=dir COIN=bitcoin DAYS=7 MODEL=lightgbm TRAIN=1
	@exec $(BIN)/python -m coincast_stack demo

PLAN ?= keyless
rehearse: export PLAN := $(PLAN)
.PHONY: rehearse
rehearse: $(VENV)/.run ## Simulate a first start under the limits of a CoinGecko plan and print a time line: PLAN=keyless|demo|basic|analyst
	@$(BIN)/python -m coincast_stack rehearse

# Tests of one file run in one worker; WORKERS=0 runs all tests in this process. Many tests wait for processes of their own,
# so three workers use two processors.
WORKERS ?= 3
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder --max-worker-restart 1

.PHONY: doctor
doctor: $(VENV)/.run ## Check upstream, key and plan, Redis, disk, ports and versions, with a remedy for each failure
	@$(BIN)/python -m coincast_stack doctor

.PHONY: test
test: $(VENV)/.dev $(GENERATORS)/.ready ## Run the tests: unit, contract, integration, end to end (LONG=1 WORKERS=3 TESTS=path)
	@$(PYTEST) $(if $(LONG),-m "long or not long") $(TESTS)

.PHONY: test-unit
test-unit: $(VENV)/.dev ## Run the unit tests without the slow ones: under two minutes
	@$(PYTEST) -m "not slow and not faults" $(or $(TESTS),tests/unit)

.PHONY: test-pythons
test-pythons: ## Run the unit tests on every other supported Python that is installed here: PYTHON_SECONDS=limit for each
	@deploy/test_pythons.sh

.PHONY: coverage
coverage: $(VENV)/.dev ## Measure line and branch coverage without the end-to-end tests, with a minimum per package
	@COVERAGE_FILE=reports/coverage $(PYTEST) --cov --cov-report= tests/unit tests/contract tests/integration
	@COVERAGE_FILE=reports/coverage $(BIN)/python deploy/coverage_floors.py

.PHONY: faults
faults: $(VENV)/.dev ## Run the fault injection tests, each with its figure
	@$(PYTEST) -m "faults and not alone" -rP $(or $(TESTS),tests/faults); code=$$?; \
	$(PYTEST) -n 0 -m "faults and alone" -rP $(or $(TESTS),tests/faults); alone=$$?; \
	for each in $$code $$alone; do [ $$each = 0 ] || [ $$each = 5 ] || exit $$each; done

.PHONY: check
check: $(VENV)/.dev ## Check lint, format, types, dead code, import rules, contracts and stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(patsubst %,-p coincast_%,$(MODULES))
	$(BIN)/mypy tests bench
	$(BIN)/vulture
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/buf format --diff --exit-code proto
	$(BIN)/buf breaking proto --against proto/released.binpb
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && PYTHON=$(abspath $(BIN)/python) proto/generate.sh "$$fresh" \
	    && diff -r -x __pycache__ "$$fresh/coincast" proto/gen/coincast \
	    || { echo "proto/gen is out of date: run make proto"; exit 1; }
	$(BIN)/shellcheck $$(git ls-files '*.sh') .ci/run
	$(BIN)/hadolint */Dockerfile libs/sandbox/Dockerfile deploy/up-test/stand-ins.Dockerfile
	$(BIN)/docker-compose config --quiet
	$(BIN)/python deploy/version.py
	$(BIN)/python deploy/settings_page.py --check
	$(BIN)/python deploy/metrics_page.py --check
	$(BIN)/python -m deploy.grafana.generate --check
	$(BIN)/python deploy/client_schemas.py --check
	@! grep -nE '(https?|file)://' requirements/*.txt tests/contract/gateway/generators/package-lock.json || { echo "a lock file contains an address: run make lock"; exit 1; }

DIST ?= dist
.PHONY: dist
dist: $(VENV)/.dev ## Build wheels of all packages and of `coincast`, which depends on all of them, with CycloneDX lists -> dist/
	@rm -rf "$(DIST)" && mkdir -p "$(DIST)/sbom"
	@$(BIN)/python deploy/version.py >/dev/null
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --wheel-dir "$(DIST)" \
	    $(patsubst %,./%,$(PACKAGES) libs/bundle)
	@for lock in chassis gateway market-data forecast training sandbox run; do \
	    name=$$lock; if [ $$lock = run ]; then name=coincast; fi; \
	    $(BIN)/cyclonedx-py requirements --output-reproducible --mc-type application --of JSON \
	        -o "$(DIST)/sbom/$$name.cdx.json" requirements/$$lock.txt || exit 1; done
	@ls "$(DIST)" "$(DIST)/sbom"

.PHONY: dist-test
dist-test: $(VENV)/.dev ## Install the wheels in a clean environment, start the system and request a forecast
	@$(BIN)/pytest -s -m release tests/e2e/test_e2e_wheels.py

.PHONY: version
version: $(VENV)/.uv ## Print the version of all packages, or set it: VERSION=1.2.3
	@$(BIN)/python deploy/version.py $(VERSION)

.PHONY: proto
proto: $(VENV)/.dev ## Regenerate the stubs in proto/gen
	@PYTHON=$(abspath $(BIN)/python) proto/generate.sh

.PHONY: release-proto
release-proto: $(VENV)/.dev ## Release the current contracts: later changes must not break them
	$(BIN)/buf build proto --output proto/released.binpb

.PHONY: bench
bench: $(VENV)/.dev ## Run every benchmark and print each figure with its limit: BENCH=name for one
	@$(BIN)/python bench/run.py $(if $(DATA),--data "$(DATA)") $(BENCH)

.PHONY: soak
soak: $(VENV)/.dev ## Run mixed traffic with faults, then report trends: SOAK_MINUTES=60 SOAK_RATE=40 -> reports/soak.json
	@$(BIN)/python bench/soak.py

.PHONY: up
up: ## Start the whole system with Docker Compose and print its addresses
	@command -v docker >/dev/null \
	    || { echo "make up needs Docker: install Docker Engine and its compose plugin. make run needs neither."; exit 2; }
	@docker compose version >/dev/null 2>&1 \
	    || { echo "make up needs Docker's compose plugin, version 2 or later: install docker-compose-plugin"; exit 2; }
	@docker info >/dev/null 2>&1 \
	    || { echo "make up needs a Docker engine that answers: start it, or join the docker group"; exit 2; }
	@docker compose up --detach --build --wait
	@echo "Coincast: http://127.0.0.1:$(PORT)/docs   Grafana: http://127.0.0.1:$${GRAFANA_PORT:-3000}"
	@docker compose logs --no-log-prefix secrets | tail -n 3

.PHONY: down
down: ## Stop what `make up` started; the volumes stay
	@docker compose version >/dev/null 2>&1 || { echo "make down needs Docker and its compose plugin"; exit 2; }
	@docker compose down

.PHONY: up-test
up-test: $(VENV)/.dev ## Test the compose file: build, up, scale, restore, kill each service, down (ENGINE=folder QUICK=1)
	@$(BIN)/python deploy/up-test/up_test.py $(if $(ENGINE),--engine $(ENGINE)) $(if $(QUICK),--quick)

.PHONY: pages
pages: $(VENV)/.dev ## Write the files that are generated from the code: pages, dashboards, rules, the client's schemas
	@$(BIN)/python deploy/settings_page.py
	@$(BIN)/python deploy/metrics_page.py
	@$(BIN)/python -m deploy.grafana.generate
	@$(BIN)/python deploy/kubernetes_rules.py
	@$(BIN)/python deploy/client_schemas.py

.PHONY: docs
docs: $(VENV)/.dev ## Build the documentation site with search and check its links -> reports/docs
	@$(BIN)/python -m sphinx -q -W --keep-going docs reports/docs && echo "Coincast: reports/docs/index.html"

.PHONY: screenshots
screenshots: $(VENV)/.dev ## Take pictures of every view of the web page: PORT=8000 -> reports/screenshots
	@$(BIN)/python deploy/screenshots.py http://127.0.0.1:$(PORT) reports/screenshots

.PHONY: evaluate
evaluate: $(VENV)/.dev ## Run the walk-forward evaluation: DATA=dir FROM= TO= COINS= MODELS= HORIZONS= INTERVAL=1h RISK=1 THIN=1 HOURLY=dir UNSEEN=1 REFIT=days -> reports/
	@$(BIN)/coincast-training evaluate --data "$(DATA)" $(if $(FROM),--from $(FROM)) $(if $(TO),--to $(TO)) \
	    $(if $(COINS),--coins "$(COINS)") $(if $(MODELS),--models "$(MODELS)") $(if $(HORIZONS),--horizons "$(HORIZONS)") \
	    $(if $(INTERVAL),--interval "$(INTERVAL)") $(if $(RISK),--risk) $(if $(THIN),--thin) $(if $(UNSEEN),--unseen) $(if $(REFIT),--refit-days $(REFIT)) $(if $(HOURLY),--hourly "$(HOURLY)") --out $(or $(OUT),reports)

.PHONY: starter
starter: $(VENV)/.dev ## Train the starter versions that ship with the project on DATA=dir, HOURLY=dir
	@$(BIN)/python -m coincast_training.starter.build --data "$(DATA)" $(if $(HOURLY),--hourly "$(HOURLY)")
	@$(if $(HOURLY),$(BIN)/python -m coincast_training.starter.hourly --data "$(HOURLY)")

.PHONY: lock
lock: $(VENV)/.uv ## Write the lock files from requirements/*.in
	@requirements/lock.sh

.PHONY: format
format: $(VENV)/.dev ## Format the code and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: clean
clean: ## Remove caches (never var/, which holds archive and artifacts)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache reports
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
