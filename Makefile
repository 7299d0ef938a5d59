# `make test` and `make demo` do all set-up themselves; nothing else is needed on a machine with Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: bench check demo lint quick-data quick-rest serve setup test test-ray test-rest

setup: .venv/installed

# pip reads torch's version from the lock first: any other torch brings gigabytes of CUDA.
.venv/installed: pyproject.toml platform/constraints.txt
	@test ! -e .venv/unfinished || rm -rf .venv
	@test -x $(BIN)/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is not Python 3.11 or newer; name one that is, as in: make PYTHON=python3.12"; exit 2; }
	@test -e .venv || { mkdir .venv && touch .venv/unfinished; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { test ! -e .venv/unfinished || rm -rf .venv; exit 2; }
	@echo "Installing into .venv: a minute or two, without a sign of life."
	$(BIN)/pip install --quiet --disable-pip-version-check -c platform/constraints.txt -e '.[dev]' || \
		{ test ! -e .venv/unfinished || rm -rf .venv; exit 2; }
	@rm -f .venv/unfinished
	touch $@

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# For daily work, side by side: what takes under a second.
check: setup
	$(MAKE) --jobs 2 --output-sync lint quick-data quick-rest

quick-data: setup
	$(BIN)/pytest --no-cov -m "not slow and not cluster" tests/data

quick-rest: setup
	$(BIN)/pytest --no-cov -m "not slow and not cluster" --ignore tests/data

# Side by side: a test with a Ray mostly waits for processes to start. So each takes one thread. What is through first
# makes room for the linters.
test: setup
	$(MAKE) --jobs 2 test-rest test-ray lint

test-rest test-ray: export OMP_NUM_THREADS = 1

test-rest: setup
	$(BIN)/pytest --durations 15 --ignore tests/cluster

test-ray: setup
	$(BIN)/pytest --durations 15 tests/cluster

demo: setup
	$(BIN)/python jobs/demo.py jobs/experiments/demo.yaml

# Other libraries are installed beside ours, each into its own folder of .bench.
bench: setup
	$(BIN)/python jobs/benchmarks/read_dicom.py
	$(BIN)/python jobs/benchmarks/feed.py

# Serves what `make demo` promoted, until Ctrl-C; the demo's token, unless RAYOLOGY_TOKEN names another.
serve: setup
	@test -e .rayology/demo/store/demo/champion -o -e .rayology/demo/store/champion || \
		{ echo "there is no champion to serve yet; run 'make demo' first"; exit 2; }
	export RAYOLOGY_TOKEN="$${RAYOLOGY_TOKEN:-$$(cat .rayology/demo/token)}"; \
	exec $(BIN)/rayology serve serve_configs/demo.yaml
