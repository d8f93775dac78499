# kernlab: every target sets up what it needs by itself. A machine with Python 3.11 or newer and make is enough.
#
#   make demo    a sample dump, from first look to report: one HTML file
#   make test    everything a change must pass
#   make help    the rest

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.kernlab-ready
HOOKS_READY := $(VENV)/.kernlab-hooks
BUILD := build

# Another Python for .venv: make PYTHON=/usr/bin/python3.12 test
PYTHON ?=
# A dump opened once per worker serves all tests of a file, which go in tests/conftest.py's order. Four workers on two cores:
# browsers and guests are waited for.
PYTEST_FLAGS ?= -n 4 --dist loadfile --no-loadscope-reorder
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

.DEFAULT_GOAL := help
.PHONY: help setup demo docs pictures test test-seeds fuzz lint types format bench extension samples test-lab hooks clean distclean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment in .venv (the other targets do it when needed)

$(READY): pyproject.toml constraints.txt scripts/find-python.sh
	@if [ ! -x $(BIN)/python ]; then \
	    python=$$(PYTHON="$(PYTHON)" sh scripts/find-python.sh) || exit 1; \
	    echo "Making $(VENV) with $$python"; \
	    "$$python" -m venv $(VENV); \
	fi
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e ".[all,docs,dev]"
	@touch $@

demo: $(READY) ## a sample dump, from first look to report: tables here, build/oom-report.html to keep
	@$(BIN)/python -m kernlab demo --output $(BUILD)

# Side by side, as neither keeps two cores busy: the tests wait for browsers and guests, mypy and a notebook take one.
test: lint $(READY) ## everything a change must pass: ruff, mypy, import-linter, pytest, the notebooks
	@$(MAKE) --no-print-directory --keep-going --jobs=2 run-tests types-and-notebooks

.PHONY: run-tests run-notebooks types-and-notebooks
# Without make's own flags: a make that a test runs would take them for its own.
run-tests: $(READY)
	unset MAKEFLAGS MAKELEVEL; $(BIN)/python -m pytest -p no:nbval $(PYTEST_FLAGS) tests

run-notebooks: $(READY)
ifneq ($(NOTEBOOKS),)
	$(BIN)/python -m pytest --nbval-lax -p no:cacheprovider $(NOTEBOOKS)
endif

types-and-notebooks: types run-notebooks

test-seeds: $(READY) ## the large matrices of the tests (kernel options, damage) on every dump, not each case on one of them
	for seed in 1 2 3 4 5 6; do KERNLAB_SEED=$$seed $(BIN)/python -m pytest $(PYTEST_FLAGS) tests/configurations tests/damage tests/fuzz/test_known.py \
	    tests/formats/test_open.py tests/linux/stacks/test_trampolines.py tests/linux/stacks/test_return_addresses.py \
	    tests/linux/locks/test_spinning.py tests/debuginfo/test_real_dumps.py tests/redaction/test_seeded.py tests/redacted_dump/test_redact.py \
	    tests/verdict/test_damaged.py tests/redaction/test_verdict.py || exit 1; done

fuzz: $(READY) ## damaged dumps by the thousand (tests/fuzz/README.md): CASES=1000 or SECONDS=600, SEED=7, CASE='name'
	PYTHONPATH=tests $(BIN)/python -m fuzz $(if $(CASES),--cases $(CASES)) $(if $(SECONDS),--seconds $(SECONDS)) \
	    $(if $(SEED),--seed $(SEED)) $(if $(DUMPS),--dumps $(DUMPS)) $(if $(KINDS),--kinds $(KINDS)) $(if $(CASE),'$(CASE)')

lint: $(READY) ## ruff (rules and format), the direction of imports between the rooms, what may be committed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/python scripts/check_files.py
	$(BIN)/python scripts/store_outputs.py --check
	$(BIN)/towncrier build --draft --version next >/dev/null

types: $(READY) ## mypy, strict on kernlab/
	$(BIN)/mypy

format: $(READY) ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## the documentation site, without a network: build/docs/html, and an archive of it for a release
	@$(BIN)/python -m scripts.docs_site

pictures: $(READY) ## make the pictures of README and docs again, from the bundled dumps (needs Chromium)
	@$(BIN)/python -m scripts.pictures

bench: $(READY) ## kernlab and drgn side by side on the same dump (see benchmarks/README.md)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e ".[oracle]"
	$(BIN)/python benchmarks/compare.py

extension: $(READY) ## build JupyterLab's front end anew (needs node; the built bundle lies in git)
	$(BIN)/python scripts/build_extension.py

.PHONY: notebooks dist changelog
notebooks: $(READY) ## execute the notebooks and store what they show, to be read where no kernel runs
	$(BIN)/python scripts/store_outputs.py

dist: $(READY) ## build wheel and sdist in dist/, the same to the byte for the same commit (scripts/try_release.py tries them)
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m hatchling build -t sdist -t wheel

changelog: $(READY) ## what the next release's notes would say, from the fragments in changelog.d/
	@$(BIN)/towncrier build --draft --version "$$($(BIN)/python -c 'import kernlab; print(kernlab.__version__)')"

samples: $(READY) ## make the sample dumps of samples/ that are not there, in QEMU guests (Debian packages from this machine's mirror)
	$(BIN)/python -m kernlab lab samples

test-lab: $(READY) ## check every kernel in every format against its truth, capture what is missing (hours at first, then minutes)
	$(BIN)/python scripts/lab_matrix.py docs/compatibility.md
	KERNLAB_LAB_GUESTS="5.10 6.1 6.12 sid" $(BIN)/python -m pytest tests/recorder/test_in_guest.py

hooks: $(HOOKS_READY) ## let git check each commit (.pre-commit-config.yaml)

$(HOOKS_READY): $(READY) .pre-commit-config.yaml
	$(BIN)/pre-commit install
	@touch $@

clean: ## remove what was built; keeps .venv
	rm -rf $(BUILD) dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find kernlab tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv too
	rm -rf $(VENV)
