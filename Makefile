# Everything is installed into .venv, and runs in .airflow; nothing outside this folder is touched.

PYTHON ?= python3
AIRFLOW ?= 3.3
VERSIONS ?= 2.11 3.0 3.1 3.2 3.3
# What is pinned: the newest for AIRFLOW; or released/airflow-3.0.6, as the index was then; or lowest, our own floors; or
# prerelease, where nothing is but that Airflow's newest pre-release is taken.
SET ?= airflow-$(AIRFLOW)

VENV := .venv/$(SET)$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
CONSTRAINTS := constraints/$(SET).txt
RELEASED := $(patsubst constraints/%.in,%,$(wildcard constraints/released/*.in))
SETS := $(VERSIONS:%=airflow-%) $(RELEASED) lowest
# The other Pythons that this machine has.
PYTHONS ?= $(foreach python,python3.12 python3.13,$(shell $(python) --version >/dev/null 2>&1 && echo $(python)))
INSTALLED := $(VENV)/.installed
LINT_INSTALLED := $(VENV)/.installed-lint
UI_INSTALLED := $(VENV)/.installed-ui
DOCS_INSTALLED := $(VENV)/.installed-docs
SPARK_INSTALLED := $(VENV)/.installed-spark
CHROMIUM ?= /usr/bin/chromium
BIN := $(VENV)/bin

# Tests wait longer than they compute, so three workers share a core.
WORKERS ?= $(shell expr 3 \* $$(nproc))
IN_PARALLEL := --numprocesses $(WORKERS) --dist worksteal -o faulthandler_timeout=120

BENCH := .venv/bench

# Where it is set, each process of a test compiles Airflow anew, which takes longer than most tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

# Where Java is installed, the demo runs its code in a real Spark. SPARK=1 installs Java, and SPARK= does without it.
SPARK ?= $(shell command -v java >/dev/null && echo 1)
DEMO := $(if $(SPARK),$(SPARK_INSTALLED) java,$(INSTALLED))

.PHONY: demo
demo: $(DEMO)  ## Let a real Airflow create a Spark session of the local Synapse, run code in it, and cancel it
	@$(BIN)/python dev/demo.py $(if $(SPARK),--spark)

.PHONY: ui
ui: $(DEMO)  ## The same, and leave Airflow's UI open to click through
	@$(BIN)/python dev/demo.py --ui $(if $(SPARK),--spark)

.PHONY: test
test: $(INSTALLED)  ## Run all tests; AIRFLOW=2.11 uses another version
	$(BIN)/python -m pytest $(IN_PARALLEL) $(ARGS)

.PHONY: coverage
coverage: $(INSTALLED)  ## The same, and show which lines and branches no test has run
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(IN_PARALLEL) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: test-unit
test-unit: $(INSTALLED)  ## Run the unit tests, which need no server, in seconds
	$(BIN)/python -m pytest --numprocesses auto tests/unit $(ARGS)

.PHONY: test-unit-everywhere
test-unit-everywhere:  ## The same under every set of pins and every Python: minutes; EXCEPT="lowest" leaves sets out
	$(foreach set,$(filter-out $(EXCEPT),$(SETS)),$(MAKE) test-unit SET=$(set) &&) true
	$(foreach python,$(PYTHONS),$(MAKE) test-unit PYTHON=$(python) &&) true

.PHONY: test-everywhere
test-everywhere:  ## All tests under every set of pins and every Python, and what Airflow is about to release: hours
	$(foreach set,$(SETS),$(MAKE) test SET=$(set) &&) true
	$(foreach python,$(PYTHONS),$(MAKE) test PYTHON=$(python) &&) true
	-$(MAKE) test SET=prerelease

.PHONY: test-matrix
test-matrix:  ## Check in real Airflows that all modes end alike, and no session is left; VERSIONS="2.11 3.3" uses fewer
	$(foreach version,$(VERSIONS),$(MAKE) test-outcomes AIRFLOW=$(version) &&) true

.PHONY: test-outcomes
test-outcomes: $(INSTALLED) services  ## The same for one version of Airflow
	$(BIN)/python -m pytest tests/airflow $(ARGS)

.PHONY: test-ui
test-ui: $(UI_INSTALLED) $(CHROMIUM)  ## Test the connection form and the Test button in a real browser
	CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest tests/ui $(ARGS)

.PHONY: test-wheel
test-wheel: build  ## Build the wheel, and run the README's test of a DAG with it, in a venv of its own
	$(BIN)/python -m pytest -m wheel $(ARGS)

.PHONY: test-distributed
test-distributed: .venv/distributed/.installed services  ## Test a distributed Airflow with PostgreSQL, Redis and Celery
	.venv/distributed/bin/python -m pytest -m distributed $(ARGS) tests/distributed

.PHONY: test-spark
test-spark: $(SPARK_INSTALLED) java  ## Test the local Synapse with a real Spark, also from DAGs; needs Java (Debian's): 4 minutes
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/spark $(ARGS)

.PHONY: java
java:
	@command -v java >/dev/null || (apt-get update && apt-get install --yes --no-install-recommends default-jre-headless)

.PHONY: services
services:
	@command -v redis-server >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null || \
		(apt-get update && apt-get install --yes --no-install-recommends postgresql redis-server)

.PHONY: soak
soak: $(INSTALLED)  ## Run 500 waits while requests fail, one in five, and all of them for 20 s; takes minutes
	@AIRFLOW_HOME=$(CURDIR)/.airflow/soak $(BIN)/python dev/soak.py

.PHONY: lint
lint: $(LINT_INSTALLED)  ## Check types, style, format and import rules
	$(BIN)/mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

.PHONY: build
build: $(INSTALLED)  ## Build wheel and sdist into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build

.PHONY: docs
docs: docs-html  ## Build the documentation, with warnings as errors, and run its examples
	$(BIN)/python -m pytest -m docs tests/integration/test_readme_runs.py $(ARGS)

.PHONY: docs-html
docs-html: $(DOCS_INSTALLED)  ## Build the documentation alone
	AIRFLOW_HOME=$(CURDIR)/.airflow/docs $(BIN)/python -m sphinx --builder html --nitpicky --fail-on-warning \
		--keep-going --doctree-dir .docs/doctrees docs .docs/html

.PHONY: docs-pictures
docs-pictures: $(UI_INSTALLED) $(CHROMIUM)  ## Take the documentation's screenshots anew, in a real browser
	CHROMIUM=$(CHROMIUM) $(BIN)/python dev/docs_pictures.py

.PHONY: bench
bench: $(BENCH)/.installed  ## Measure waits beside other designs; takes more than an hour, ARGS="outage hang" 15 minutes
	@$(BENCH)/bin/python -m benchmarks $(ARGS)

.PHONY: constraints
constraints:  ## Update the pinned versions for AIRFLOW, within the versions it allows
	$(MAKE) SET=airflow-3.3 .venv/airflow-3.3/.installed
	.venv/airflow-3.3/bin/uv pip compile pyproject.toml --quiet --group dev --extra emulator \
		$(if $(filter airflow-%,$(SET)),--extra spark --group lint --group ui) \
		$(if $(filter airflow-3.3,$(SET)),--group distributed --group docs) \
		$(shell sed -n 's/^# --/--/p' $(CONSTRAINTS:.txt=.in)) --constraint $(CONSTRAINTS:.txt=.in) \
		--universal --python-version 3.11 --upgrade --no-header --no-annotate --no-emit-index-url -o $(CONSTRAINTS)

.PHONY: constraints-released
constraints-released:  ## Make the sets that Airflow's releases met, from the dates in constraints/released
	$(foreach set,$(RELEASED),$(MAKE) constraints SET=$(set) &&) true

.PHONY: clean
clean:  ## Remove everything that was built or installed
	rm -rf .venv .airflow .coverage* .docs .hypothesis .mypy_cache .pytest_cache .ruff_cache dist

$(BENCH)/.installed: pyproject.toml constraints/bench.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints/bench.txt uv
	$(BENCH)/bin/uv pip install --quiet --python $(BENCH)/bin/python --constraint constraints/bench.txt \
		--build-constraint constraints/bench.txt --editable '.[emulator]' --group bench
	touch $@

.venv/distributed/.installed: pyproject.toml constraints/airflow-3.3.txt
	$(PYTHON) -m venv .venv/distributed
	.venv/distributed/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/airflow-3.3.txt uv
	.venv/distributed/bin/uv pip install --quiet --python .venv/distributed/bin/python -c constraints/airflow-3.3.txt \
		--build-constraint constraints/airflow-3.3.txt --editable '.[emulator]' --group dev --group distributed
	touch $@

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --build-constraint $(CONSTRAINTS) \
		$(if $(filter prerelease,$(SET)),--prerelease=if-necessary-or-explicit) --editable '.[emulator]' --group dev
	touch $@

$(LINT_INSTALLED): $(INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --group lint
	touch $@

$(UI_INSTALLED): $(INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --group ui
	touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --group docs
	touch $@

$(SPARK_INSTALLED): $(INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --build-constraint $(CONSTRAINTS) \
		--editable '.[emulator,spark]'
	touch $@

$(CHROMIUM):  # Debian's
	apt-get update --quiet
	apt-get install --quiet --yes chromium
