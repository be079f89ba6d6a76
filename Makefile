# Two commands do everything: `make demo` runs the main job, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
N ?= 100000
SECONDS ?= 300

.PHONY: demo test check semgrep bench fuzz storm storm-model storm-row lock sbom clean
.DEFAULT_GOAL := test

# One stamp for the environment: rebuilt only when the lock or the project file changes.
$(VENV)/.ready: requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# SMS=cmpp or SMS=smpp sends the notices by these protocols instead of HTTP.
demo: $(VENV)/.ready
	$(BIN)/gateway demo $(if $(KEEP),--keep) $(if $(SMS),--sms $(SMS))

# ARGS goes to pytest: make test ARGS=tests/unit
test: $(VENV)/.ready
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict gateway adapters schemas tests
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive gateway adapters schemas
	$(BIN)/python -m pytest tests/house

# The pack of rules that follow values (personal data into logs, a paying call into a retry). In an environment of its own, because
# semgrep pins libraries in other versions than ours: first each rule must bite and spare as its samples say, then the product is read.
# --strict: a file that it cannot parse would pass as clean.
SEMGREP := $(VENV)-semgrep
SCAN := $(SEMGREP)/bin/semgrep scan --metrics=off --disable-version-check --config tests/house/semgrep/rules.yml
$(SEMGREP)/.ready: tests/house/semgrep/requirements.lock
	$(PYTHON) -m venv $(SEMGREP)
	$(SEMGREP)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/house/semgrep/requirements.lock
	touch $@

semgrep: $(SEMGREP)/.ready
	PATH="$(CURDIR)/$(SEMGREP)/bin:$$PATH" $(SCAN) --test tests/house/semgrep/rules.py
	PATH="$(CURDIR)/$(SEMGREP)/bin:$$PATH" $(SCAN) --quiet --error --strict gateway adapters schemas

bench: $(VENV)/.ready
	$(BIN)/python -m tests.bench --payouts $(N)

# Every reader of outside bytes under a coverage-guided fuzzer, SECONDS each: make fuzz SECONDS=300
fuzz: $(VENV)/.ready
	$(BIN)/pip install --quiet --disable-pip-version-check 'atheris>=3'
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# The kill -9 matrix: every fault crossed with kills, and five sabotaged builds that it must catch. The whole needs Apache
# Kafka (Java 17 and Maven, or a container) and fails where a cell could not be played. QUICK=1 is a slice of
# at most five minutes; CELL= and SEED= play one again.
storm: $(VENV)/.ready
	$(BIN)/python -m tests.storm.matrix $(if $(QUICK),--quick) $(if $(CELL),--cell $(CELL)) $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS))

# The model check of CI, longer and with fresh seeds; a failing example prints the steps that replay it.
EXAMPLES ?= 2000
storm-model: $(VENV)/.ready
	STORM_MODEL_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -o faulthandler_timeout=0 tests/storm/test_model.py

# One row of tests/storm/README.md at its full size, its figure as a JSON line: make storm-row ROW=outbox_order
storm-row: $(VENV)/.ready
	STORM=1 $(BIN)/python -m pytest -o faulthandler_timeout=0 -s tests/storm/test_$(ROW).py

# Re-resolve the locks; needs `uv`. No lock names an index.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra sm --extra smpp -c requirements.lock pyproject.toml -o requirements-extras.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra embedded --extra sm --extra smpp --extra dev pyproject.toml -o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes tests/house/semgrep/requirements.in -o tests/house/semgrep/requirements.lock

# The bill of materials of what is installed in production, from its lock.
sbom: $(VENV)/.ready
	$(BIN)/python -m tests.house.sbom

# A demonstration that still runs keeps its directory, and is named.
clean:
	$(PYTHON) -m tests.world.kept
	rm -rf $(VENV) $(SEMGREP) .pytest_cache .mypy_cache .ruff_cache .hypothesis
