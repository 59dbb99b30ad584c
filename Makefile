# Every target sets up what it needs; on a fresh machine Python 3.11 or newer and make are enough.
PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready

# One thread a process: the tests run in several processes already.
test: export OMP_NUM_THREADS ?= 1
test: export MKL_NUM_THREADS ?= 1

.PHONY: setup test demo lint format docs examples check-examples suite bench frozen clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed; name one with: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,dev,docs]'
	$(BIN)/python -m compileall -q verifier  # where Python is told not to, it would compile anew at every start
	@touch $@

test: $(READY)
	$(BIN)/python -m pytest -n 2 -q -rs tests

demo: $(READY)
	$(BIN)/python -m specs.demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Build the pages into build/site (open build/site/index.html); a warning is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Train the example networks again and write their properties again.
examples: $(READY)
	$(BIN)/python -m models.digits
	$(BIN)/python -m models.pendulum
	$(BIN)/python -m specs.make

# Check that the committed examples are what the scripts make, and their expected verdicts exactly (two minutes).
check-examples: $(READY)
	$(BIN)/python -m models.digits --check
	$(BIN)/python -m models.pendulum --check
	$(BIN)/python -m specs.make --check
	$(BIN)/python -m specs.make --prove

# Compare what the search does with the committed table (a minute; see benchmarks/frozen.py); UPDATE=1 writes the table anew.
frozen: $(READY)
	@$(BIN)/python -m benchmarks.frozen $(if $(UPDATE),--update) $(ARGS)

# Run the benchmark suite where it lies beside this folder; pass options with ARGS='--only acasxu'.
suite: $(READY)
	@$(BIN)/python -m compileall -q verifier
	@if [ -f ../shared/tools/suite.py ]; then \
	    $(BIN)/python ../shared/tools/suite.py --cores 1 --python $(BIN)/python $(ARGS); \
	else \
	    echo "../shared/tools/suite.py is not there: nothing to run" >&2; \
	fi

# The same in the file runs.sqlite, resumable; pass options with ARGS='--jobs 2 --only acasxu'.
bench: $(READY)
	$(BIN)/verifier bench ../shared/benchmarks $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
