# Everything a checkout needs: `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
CONFORMANCE := tests/conformance
BROWSER := tests/browser
BENCH := tests/bench
BENCH_VENV := build/bench/venv

# What `make test` needs from the system, as command:package.
TOOLS := redis-server:redis-server node:nodejs npm:npm faketime:faketime chromium:chromium haproxy:haproxy
# Where Debian puts haproxy, and users do not look.
export PATH := $(PATH):/usr/sbin

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help run test coverage test-deploy chaos bench bench-quick bench-parts lint format lock tools clean

help: ## List what can be made.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 21

run: $(VENV)/.installed ## Start one worker; ARGS="--port 9000" passes options.
	@exec $(BIN)/relay serve $(ARGS)

test: $(VENV)/.installed-dev tools $(CONFORMANCE)/node_modules/.installed $(BROWSER)/node_modules/.installed ## Run the whole test suite; ARGS="-k name" passes options.
	$(BIN)/python -m pytest $(ARGS)

coverage: $(VENV)/.installed-dev tools ## Report how much of the core the unit and contract tests run, per package.
	@mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest tests/unit tests/contract --quiet $(ARGS)
	$(BIN)/python -m tests.checks.coverage

test-deploy: $(VENV)/.installed-dev tools ## Bring the deployment up with Docker, and test it; ARGS="--record" keeps the table.
	$(BIN)/python -m pytest tests/deploy $(ARGS)

# Beside an engine with compose v2, which is whoever runs it to bring.
test-deploy: TOOLS := curl:curl iptables:iptables nsenter:util-linux script:bsdutils systemd-analyze:systemd

bench: $(VENV)/.installed $(BENCH_VENV)/.installed tools ## Measure Relay beside its peers, some hours; ARGS="--only ws" for less.
	$(BENCH_VENV)/bin/python -m tests.bench $(ARGS)

bench-quick: $(VENV)/.installed $(BENCH_VENV)/.installed tools ## The same with four systems, in under two minutes.
	$(BENCH_VENV)/bin/python -m tests.bench --quick $(ARGS)

bench-parts: $(VENV)/.installed-dev tools ## Measure a message's Python and its Redis apart, in seconds: to compare two versions.
	$(BIN)/python -m tests.bench.parts

# The peers install themselves; what is missing of their tools leaves their rows out.
bench bench-quick: TOOLS := redis-server:redis-server cc:build-essential

chaos: $(VENV)/.installed-dev tools ## Strike with every fault, again and again, and count; ARGS="--soak 15" for minutes of churn.
	$(BIN)/python -m tests.chaos $(ARGS)

lint: $(VENV)/.installed-dev ## Check style, types, and that imports point downwards.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## Bring the code into shape.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Write the lock files anew, with the newest versions allowed.
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade uv
	build/lock/bin/uv pip compile --quiet --upgrade $(LOCK_OPTIONS) \
		--group build --output-file requirements.lock pyproject.toml
	build/lock/bin/uv pip compile --quiet --upgrade $(LOCK_OPTIONS) --constraints requirements.lock \
		--group build --group test --group lint --output-file tests/requirements.lock pyproject.toml
	build/lock/bin/uv pip compile --quiet --upgrade $(LOCK_OPTIONS) \
		--output-file $(BENCH)/peers/requirements.lock $(BENCH)/peers/requirements.in

LOCK_OPTIONS := --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock"

clean: ## Remove what was made.
	rm -rf $(VENV) build dist $(CONFORMANCE)/node_modules $(BROWSER)/node_modules $(BENCH)/peers/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The virtual environment, from the lock files alone.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Relay needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
		echo "Name another one: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments here. On Debian and Ubuntu, as root:" >&2; \
		echo "    apt-get install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; \
		echo "and then the same make again." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/.made
	$(PIP) install --quiet --require-hashes --requirement requirements.lock
	$(PIP) install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: tests/requirements.lock $(VENV)/.installed
	$(PIP) install --quiet --require-hashes --requirement tests/requirements.lock
	@touch $@

$(BENCH_VENV)/.installed: $(BENCH)/peers/requirements.lock | $(VENV)/.made
	@mkdir -p build/bench
	$(PYTHON) -m venv --clear $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes --requirement $<
	@touch $@

# What is not Python.

tools:
	@missing=; for tool in $(TOOLS); do \
		command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; \
	done; \
	test -z "$$missing" && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends $$missing; \
	else \
		echo "This needs what is not installed here. On Debian and Ubuntu, as root:" >&2; \
		echo "    apt-get install$$missing" >&2; exit 1; \
	fi

%/node_modules/.installed: %/package.json %/package-lock.json | tools
	npm ci --prefix $* --ignore-scripts --no-audit --no-fund
	@touch $@
