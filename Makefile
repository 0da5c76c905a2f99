# `make demo` and `make test` do all their own set-up; a machine needs Python 3.11 to 3.13 and, the first time, the network.
# `make demo` installs what a search and a training need, and `make test` everything that tests need. Both install the versions that were
# tested with this Python, in .venv, which another Python or other constraints make anew. `make try-newest` installs the newest of everything.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])")
CONSTRAINTS ?= constraints/python$(VERSION).txt
READY := $(VENV)/ready-$(VERSION)-$(notdir $(CONSTRAINTS))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)

.PHONY: demo demo-text test test-small try-newest try-nightly lint docs clean

demo: $(READY)
	$(BIN)/python -m experiments.demo --workdir=runs/demo

demo-text: $(READY)
	$(BIN)/python -m experiments.demo --search=text_demo --workdir=runs/demo_text

test: $(READY)-dev lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

# What every supported version passes.
test-small: $(READY)-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m versions

# The newest of everything, whatever was tested; what it installed is in .venv-newest/installed.txt.
try-newest:
	rm -rf .venv-newest
	$(MAKE) .venv-newest/ready-$(VERSION)-null-dev VENV=.venv-newest CONSTRAINTS=/dev/null
	.venv-newest/bin/python -m pip freeze --exclude-editable > .venv-newest/installed.txt
	$(MAKE) test VENV=.venv-newest CONSTRAINTS=/dev/null

# The same with the JAX of last night, from JAX's own index.
try-nightly:
	rm -rf .venv-nightly
	$(MAKE) .venv-nightly/ready-$(VERSION)-null-dev VENV=.venv-nightly CONSTRAINTS=/dev/null
	.venv-nightly/bin/python -m pip install --quiet --upgrade --pre jax jaxlib -i https://us-python.pkg.dev/ml-oss-artifacts-published/jax/simple/
	.venv-nightly/bin/python -m pip freeze --exclude-editable > .venv-nightly/installed.txt
	$(MAKE) test VENV=.venv-nightly CONSTRAINTS=/dev/null

# Nothing is looked up on the network: pyright and node come with their packages.
lint: $(READY)-dev
	$(BIN)/ruff check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --project pyproject.toml --pythonpath $(BIN)/python

# The documentation site, build/docs/index.html. Once the packages are there, nothing is looked up on the network. A warning is an error.
docs: $(READY)-docs
	JAX_PLATFORMS=cpu $(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs build/docs
	@echo "the site: build/docs/index.html"

$(READY): pyproject.toml $(wildcard $(CONSTRAINTS))
	@$(PYTHON) -c "import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit('dnas needs Python 3.11 to 3.13, and this is $(VERSION); give for example PYTHON=python3.13')"
	test ! -e $(VENV)/made-by-make || rm -rf $(VENV)  # another Python or other constraints make it anew, but not one that a person made
	$(PYTHON) -m venv $(VENV)
	touch $(VENV)/made-by-make
	$(PIP) -e .
	touch $@

$(READY)-dev: $(READY)
	$(PIP) -e ".[dev]"
	touch $@

$(READY)-docs: $(READY)
	$(PIP) -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) .venv-newest .venv-nightly .venv-lowest build dist docs/generated *.egg-info
