# Everything runs in a virtual environment of the project's own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TESTS ?= tests
WORKERS ?= 2

.PHONY: demo test bench lint clean

# The stamp of what is installed: one a set of extras, made anew when pyproject changes.
$(VENV)/.python: 
	@$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(f'egojax needs Python 3.11 or newer; {sys.executable} is {v[0]}.{v[1]} (make PYTHON=python3.12 ...)' if v < (3, 11) else 0)"
	@$(PYTHON) -m venv $(VENV) || { echo "egojax: no virtual environment could be made; install Python's venv module (Debian: python3-venv)"; exit 1; }
	@touch $@

$(VENV)/.demo: $(VENV)/.python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

# Tracks the embedded clip, scores it, writes a report.
demo: $(VENV)/.demo
	$(BIN)/python launch.py --config=configs/tracking.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist=loadfile -q $(TESTS)

bench: $(VENV)/.dev
	$(BIN)/python experiments/bench.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

clean:
	rm -rf $(VENV) .cache build dist *.egg-info
