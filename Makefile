# Everything a checkout needs: `make help` lists it.

PYTHON ?= python3
# Each interpreter that is named has a virtual environment of its own.
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
CONFORMANCE := tests/conformance
BROWSER := tests/browser
BENCH := tests/bench
BENCH_VENV := build/bench/venv
# The compiled build, installed as users install it, and a checkout around it for the tests.
COMPILED := build/compiled
# Virtual environments with clients that nobody here wrote.
PYTHON_CLIENTS := build/clients/python-5 build/clients/python-4

# The programs of the system that the tests need, as command:package.
TOOLS := redis-server:redis-server node:nodejs npm:npm faketime:faketime chromium:chromium haproxy:haproxy php:php-cli curl:curl nginx:nginx cc:build-essential
# Debian installs haproxy here, which is not in the PATH of every user.
export PATH := $(PATH):/usr/sbin
# Compiled modules are kept, also where the environment says otherwise: tests start many processes.
export PYTHONDONTWRITEBYTECODE :=
# Processes that run tests side by side; tests mostly wait.
JOBS ?= 3
# The tests of one file run in one process, in their order, and share costly fixtures. The slow folders come first.
PYTEST := $(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder
PACKAGES := $(CONFORMANCE)/node_modules/.installed $(BROWSER)/node_modules/.installed
# The image of a system without anything, in which `make test-container` runs everything.
IMAGE ?= debian:trixie

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help run compiled test test-compiled test-gateways test-redis test-quiet test-clients test-container test-deploy coverage chaos abuse bench bench-quick bench-parts bench-compare bench-cluster lint docs format lock tools headers clean audit pin

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 23

run: $(VENV)/.installed ## Start one worker; ARGS="--port 9000" passes options.
	@exec $(BIN)/relay serve $(ARGS)

compiled: $(COMPILED)/.installed ## Install the relay with its hot path compiled to C, into build/compiled; needs a C compiler.
	@$(COMPILED)/bin/relay --version

test: $(VENV)/.installed-dev tools headers $(PACKAGES) ## Run the test suite; ARGS="-k name" passes options, PYTHON=python3.13 names another Python.
	$(PYTEST) -m "not gateways and not quiet or smoke" $(ARGS)

# Clients and servers are those of the checkout; only `relay` is the compiled one.
test-compiled: $(COMPILED)/.installed tools ## Run unit, contract and native tests over the compiled build; ARGS as for `make test`.
	cd $(COMPILED)/checkout && TESTED_BUILD=compiled .venv/bin/python -m pytest --numprocesses=$(JOBS) --dist=loadfile \
		--no-loadscope-reorder $(OF_COMPILED) $(ARGS)

# The compiled modules are those on the way of a message, so these tests send messages.
OF_COMPILED := tests/unit tests/contract $(addprefix tests/integration/test_,$(addsuffix .py,bad_input bursts cluster \
	frames idle large_messages observers presence protocol replay rooms unread))

test-gateways: $(VENV)/.installed-dev tools $(PACKAGES) $(PYTHON_CLIENTS:=/.installed) ## Run the tests with real clients and browsers; `make test` has one case of each.
	$(PYTEST) -m gateways $(ARGS)

# The package of Kamailio's modules needs that of Kamailio.
test-gateways: TOOLS += turnserver:coturn sipp:sip-tester prosody:prosody kamailio:kamailio-websocket-modules

test-redis: $(VENV)/.installed-dev tools $(PACKAGES) ## Run the tests about Redis with each of VERSIONS ("6.2 7.0 8.0 valkey-8"), which it downloads.
	@for version in $(VERSIONS); do \
		echo "== $$version"; programs=$$($(BIN)/python -m tests.redis_versions $$version) || exit; \
		PATH="$$programs:$$PATH" $(PYTEST) -m "not quiet" -k "$(OVER_REDIS)" $(OF_REDIS) $(ARGS) || exit; \
	done

VERSIONS ?= 6.2 7.0 8.0 valkey-8
# By their parameters, and not by their names: those about the memory of Redis belong to it.
OVER_REDIS := not memory] and not [memory- and not fakeredis
OF_REDIS := tests/contract $(addprefix tests/integration/test_,$(addsuffix .py,cluster cluster_replies databases \
	durability epochs error_words forwarding lost_data outages presence protocol redis_memory redis_tls redis_user \
	refusing_redis replay rules sentinel sentinel_scripts webhooks))

test-clients: $(VENV)/.installed-dev ## Run the tests with clients in Go, Java, Rust and Python; the first run builds them, for some minutes.
	@# Where a tool cannot be installed, pytest skips the clients that need it, and says so.
	-@$(MAKE) --no-print-directory tools TOOLS="$(LANGUAGES)"
	@# A header is no command, so the check of `tools` does not see it.
	-@test -e /usr/include/openssl/ssl.h || $(MAKE) --no-print-directory tools TOOLS=header:libssl-dev
	$(BIN)/python -m pytest tests/clients $(ARGS)

# Compilers and package managers of other languages, each with its registry.
LANGUAGES := redis-server:redis-server go:golang-go cargo:cargo cc:build-essential pkg-config:pkg-config mvn:maven javac:default-jdk-headless

test-container: ## Run .ci/run in a new container of IMAGE (debian:trixie), on the committed files.
	git archive HEAD | $(ENGINE) run --rm --interactive --shm-size=1g $(CONTAINER) $(IMAGE) sh -euc '$(IN_CONTAINER)'

# CONTAINER passes options to the engine's `run`, such as --env and --volume.
ENGINE ?= docker
IN_CONTAINER = export DEBIAN_FRONTEND=noninteractive; \
	apt-get update --quiet; apt-get install --quiet --yes --no-install-recommends python3 python3-venv make; \
	mkdir /relay; cd /relay; tar --extract --file=-; ARGS="$(ARGS)" .ci/run

coverage: $(VENV)/.installed-dev tools ## Report how much of the core the unit and contract tests run, per package.
	@mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest tests/unit tests/contract --quiet $(ARGS)
	$(BIN)/python -m tests.checks.coverage

test-deploy: $(VENV)/.installed-dev tools ## Bring the deployment up with Docker, and test it; ARGS="--record" keeps the table.
	$(BIN)/python -m pytest tests/deploy $(ARGS)

# It also needs an engine with compose v2, which this command does not install.
test-deploy: TOOLS := curl:curl iptables:iptables nsenter:util-linux script:bsdutils systemd-analyze:systemd

bench: $(COMPILED)/.installed $(BENCH_VENV)/.installed tools ## Measure Relay beside its peers, for hours; ARGS="--only ws" for less.
	$(BENCH_VENV)/bin/python -m tests.bench $(ARGS)

bench-quick: $(COMPILED)/.installed $(BENCH_VENV)/.installed tools ## The same with four systems, in under two minutes.
	$(BENCH_VENV)/bin/python -m tests.bench --quick $(ARGS)

bench-parts: $(VENV)/.installed-dev tools ## Measure the Python and the Redis part of a message separately, in seconds.
	$(BIN)/python -m tests.bench.parts

bench-compare: $(COMPILED)/.installed tools ## Compare the speed with that of BASE (a revision or a folder), alternating; ARGS="--compiled" for the compiled build.
	$(BIN)/python -m tests.bench.compare $(BASE) $(ARGS)

bench-cluster: $(VENV)/.installed-dev tools ## Measure the cost of a delivery over Redis Clusters of 1 to 6 masters, and 10 to 20,000 rooms; ten minutes.
	$(BIN)/python -m tests.bench.cluster $(ARGS)

# The peers install themselves; a peer whose tools are missing is left out of the results.
bench bench-quick bench-compare bench-cluster: TOOLS := redis-server:redis-server cc:build-essential

test-quiet: $(VENV)/.installed-dev tools $(PACKAGES) ## Run the tests that judge times, one after the other, on a machine that does nothing else.
	$(BIN)/python -m pytest -m quiet $(ARGS)

chaos: $(VENV)/.installed-dev tools $(CONFORMANCE)/node_modules/.installed ## Cause every fault several times and count lost messages; ARGS="--soak 15" for minutes of churn.
	$(BIN)/python -m tests.chaos $(ARGS)

abuse: $(VENV)/.installed-dev tools ## Run every attack for a minute and measure its harm to others; ARGS="--attack flood --seconds 5" for one.
	$(BIN)/python -m tests.abuse $(ARGS)

lint: $(VENV)/.installed-dev ## Check style, types, the direction of imports, and the rules of tests/checks.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.checks

docs: $(VENV)/.installed-dev ## Write the tables in docs/ (settings, errors, metrics) from the declarations in the code.
	$(BIN)/python -m tests.tables

format: $(VENV)/.installed-dev ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Write the lock files anew, with the newest versions allowed.
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade uv
	build/lock/bin/uv pip compile --quiet --upgrade $(LOCK_OPTIONS) \
		--group build --output-file requirements.lock pyproject.toml
	build/lock/bin/uv pip compile --quiet --upgrade $(LOCK_OPTIONS) --constraints requirements.lock \
		--group build --group compile --group test --group lint --output-file tests/requirements.lock pyproject.toml
	build/lock/bin/uv pip compile --quiet --upgrade $(LOCK_OPTIONS) --constraints tests/requirements.lock \
		--group build --group compile --output-file deploy/requirements-compile.lock pyproject.toml
	build/lock/bin/uv pip compile --quiet --upgrade $(LOCK_OPTIONS) \
		--output-file $(BENCH)/peers/requirements.lock $(BENCH)/peers/requirements.in
	for version in 5 4; do build/lock/bin/uv pip compile --quiet --upgrade $(LOCK_OPTIONS) \
		--output-file $(CONFORMANCE)/python/requirements-$$version.lock \
		$(CONFORMANCE)/python/requirements-$$version.in || exit; done
	build/lock/bin/uv pip compile --quiet --upgrade $(LOCK_OPTIONS) \
		--output-file tests/clients/python/requirements.lock tests/clients/python/requirements.in
	build/lock/bin/uv pip compile --quiet --upgrade $(LOCK_OPTIONS) \
		--output-file tests/audit/requirements.lock tests/audit/requirements.in

LOCK_OPTIONS := --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock"

audit: build/audit/.installed $(VENV)/.installed-dev tools ## Look up the known vulnerabilities of all locked packages; needs a network.
	$(BIN)/python -m tests.audit $(CURDIR)/build/audit/bin/pip-audit

audit: TOOLS := npm:npm

build/audit/.installed: tests/audit/requirements.lock | $(VENV)/.made
	@mkdir -p build
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes --requirement $<
	@touch $@

pin: ## Write the digests of the base images into the Dockerfile and the compose files; needs their registries.
	@sh deploy/pin.sh

clean: ## Remove everything that these commands have made.
	rm -rf .venv .venv-* build dist $(CONFORMANCE)/node_modules $(BROWSER)/node_modules $(BENCH)/peers/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The virtual environment, from the lock files alone.

# It is made anew when the interpreter of this name has another version than the one that made it.
VERSION := $(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null)
MADE_WITH := $(shell sed -n 's/^version = //p' $(VENV)/pyvenv.cfg 2>/dev/null)
ifneq ($(MADE_WITH),$(or $(VERSION),$(MADE_WITH)))
$(shell rm -f $(VENV)/.made $(VENV)/.installed $(VENV)/.installed-dev)
endif

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

# The requirements are those of the other environment, whose packages this one reads.
$(COMPILED)/.installed: pyproject.toml deploy/hatch_build.py $(shell find relay -type f -not -name '*.pyc') | $(VENV)/.installed-dev tools headers
	$(BIN)/python -m venv --clear --without-pip $(COMPILED)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		>$$($(COMPILED)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/requirements.pth
	SIGNAL_RELAY_COMPILE=1 $(PIP) --python $(COMPILED)/bin/python install --quiet --no-build-isolation --no-deps \
		--ignore-installed .
	mkdir $(COMPILED)/checkout
	for name in $$(ls -A | grep -vxE 'relay|build|\.git|\.venv.*'); do ln -s ../../../$$name $(COMPILED)/checkout/; done
	ln -s .. $(COMPILED)/checkout/.venv
	ln -s ../lib/$$(ls $(COMPILED)/lib)/site-packages/relay $(COMPILED)/checkout/relay
	@touch $@

$(BENCH_VENV)/.installed: $(BENCH)/peers/requirements.lock | $(VENV)/.made
	@mkdir -p build/bench
	$(PYTHON) -m venv --clear $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes --requirement $<
	@touch $@

build/clients/python-%/.installed: $(CONFORMANCE)/python/requirements-%.lock | $(VENV)/.made
	@mkdir -p build/clients
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes --requirement $<
	@touch $@

# Programs and packages that are not Python.

# Tests run these programs themselves: a package that is installed for them starts no service (invoke-rc.d asks this file).
POLICY := /usr/sbin/policy-rc.d
NO_SERVICES = test -e $(POLICY) || { trap 'rm -f $(POLICY)' EXIT; \
	printf '\#!/bin/sh\nexit 101\n' >$(POLICY); chmod 755 $(POLICY); };

tools:
	@missing=; for tool in $(TOOLS); do \
		command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; \
	done; \
	test -z "$$missing" && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		$(NO_SERVICES) \
		apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends $$missing; \
	else \
		echo "Programs are missing here. On Debian and Ubuntu, as root:" >&2; \
		echo "    apt-get install$$missing" >&2; exit 1; \
	fi

# A header is no command, so the check of `tools` does not see it. Only the system's own Python can lack its headers.
headers: | $(VENV)/.made
	@$(BIN)/python -c '$(FIND_HEADERS)' || $(MAKE) --no-print-directory tools TOOLS=header:python3-dev

FIND_HEADERS := import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))

%/node_modules/.installed: %/package.json %/package-lock.json | tools
	npm ci --prefix $* --ignore-scripts --no-audit --no-fund
	@touch $@
