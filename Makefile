# `make test` and `make demo` do all set-up themselves; nothing else is needed on a machine with Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: check demo lint serve setup test

setup: .venv/installed

# pip reads torch's version from the lock first: any other torch brings gigabytes of CUDA.
.venv/installed: pyproject.toml platform/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c platform/constraints.txt -e '.[dev]'
	touch $@

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest

demo: setup
	$(BIN)/python jobs/demo.py

serve: setup
	@test -n "$$RAYOLOGY_TOKEN" || { echo "export RAYOLOGY_TOKEN=choose-one first; every request must carry it"; exit 2; }
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python jobs/serve.py serve_configs/demo.yaml
