# `make demo` and `make test` do all their own set-up; a machine needs Python 3.11 to 3.13 and the network for the first run.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo demo-text test lint clean

demo: $(VENV)/ready
	$(BIN)/python -m experiments.demo --workdir=runs/demo

demo-text: $(VENV)/ready
	$(BIN)/python -m experiments.demo --search=text_demo --workdir=runs/demo_text

test: $(VENV)/ready-dev lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(VENV)/ready-dev
	$(BIN)/ruff check .

$(VENV)/ready: pyproject.toml requirements.txt
	$(PYTHON) -c "import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else 'dnas needs Python 3.11 to 3.13; set PYTHON=python3.12, say')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info
