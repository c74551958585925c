# make demo   install, make the demo data, train, evaluate
# make test   install, then ruff, mypy and pytest
PYTHON ?=
BASE_PYTHON := $(or $(PYTHON),python3)
VENV := .venv/bin/python
