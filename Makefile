# make demo    the whole main path on a synthetic campus, and a report
# make test    the test suite
# make check   lint and the fast tests, without PyTorch and DDS
# make installs  that the package installs on 64-bit Arm, beside Ubuntu 24.04's packages, and alone
# make docs    the documentation as a site, in site/
# make setup   only the virtual environment .venv, with .venv/bin/lhmap in it
# make lint    ruff and mypy
# make clean   removes what these made
# Another Python: make PYTHON=python3.12 ...   One part of the tests: make test ARGS="test/nodes -x"
PYTHON ?= python3
ARGS ?=
# what needs neither PyTorch nor DDS, less what is slow
FAST = test/geometry test/lhmap test/localization test/test_examples.py test/test_inputs_page.py test/test_packaging.py \
  test/test_public_interface.py test/test_processes.py --ignore=test/localization/test_device_iterations.py

.PHONY: setup demo test check installs docs lint clean check-python

demo: setup
	@.venv/bin/lhmap demo demo/

setup: check-python
	@$(PYTHON) tools/set_up.py

test: check-python
	@$(PYTHON) tools/set_up.py --extras test,train,openvino,tensorrt-rtx
	@.venv/bin/python -m pytest $(ARGS)

check: lint
	@.venv/bin/python -m pytest -q $(FAST) $(ARGS)

installs: check-python
	@$(PYTHON) tools/check_installs.py $(ARGS)

docs: check-python
	@$(PYTHON) tools/set_up.py --extras docs
	@.venv/bin/mkdocs build --strict

lint: check-python
	@$(PYTHON) tools/set_up.py --extras test,lint
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check -q .
	@.venv/bin/mypy

check-python:
	@command -v $(PYTHON) >/dev/null || { echo "missing: sudo apt install python3 python3-venv"; exit 2; }

clean:
	rm -rf .venv demo site build install log lhmap_loc_ros.egg-info .pytest_cache .ruff_cache .mypy_cache
