# Everything from a bare Python 3.11 to 3.13: `make help` lists what there is.

# PYTHON is the interpreter that makes .venv; ARGS is passed on to the program a target runs.
PYTHON ?=
ARGS ?=

PY := .venv/bin/python
# Written when an installation is whole; holds the folder it was made in.
STAMP := .venv/.installed

# A .venv that lost its interpreter, or was copied or moved here, is installed again.
WHOLE := import os; print(open("$(STAMP)").read() == os.getcwd())
ifneq "$(shell $(PY) -c '$(WHOLE)' 2>/dev/null)" "True"
.PHONY: $(STAMP)
endif

FITS := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# Asked of .venv: a link that leads straight to the interpreter would install into that one.
VENV_FITS := import sys, pip; sys.prefix == sys.base_prefix and sys.exit(1); $(FITS)

# Tests start many processes: without bytecode on disk each would compile the library anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install data weights train bert compare smoke test test-long test-promises test-cluster test-browser test-bare test-parity torture fuzz bench bench-quick bench-learning lint format constraints clean distclean

help:
	@echo 'Thaw: train Transformers from scratch, or freeze and thaw BERT.'
	@echo
	@echo '  make train        train configs/quickstart.py into runs/quickstart'
	@echo '  make bert         fine-tune a small pretrained BERT into runs/bert'
	@echo '  make compare      train what there is to compare with, and print the table'
	@echo '  make smoke        try a config (ARGS=--config=ANY.py): a few steps, in every way that must agree'
	@echo '  make test         run the tests, but for those below; six minutes'
	@echo '  make test-long    run the tests that take seconds each; half an hour'
	@echo '  make test-promises kill, signal and resume whole runs; change their devices'
	@echo '  make test-cluster run the tests with several workers'
	@echo '  make test-browser look at the pages of TensorBoard and of reports in Chromium'
	@echo '  make test-bare    a SavedModel in an environment of only TensorFlow'
	@echo '  make torture      run the slow tests: kills, restarts, long comparisons'
	@echo '  make fuzz         send 2,000 hostile inputs through every door; a quarter of an hour'
	@echo '  make test-parity  compare pretrained models with PyTorch itself'
	@echo '  make bench        fine-tune as fast as others do? Half an hour or more, side by side'
	@echo '  make bench-learning do all of them learn the same? 4,000 reviews, three seeds, an hour'
	@echo '  make bench-quick  our step against one written by hand, in three minutes'
	@echo '  make lint         ruff, mypy and how docstrings begin, changing nothing'
	@echo '  make format       let ruff rewrite the code'
	@echo '  make install      make .venv with every dependency at its pinned version'
	@echo '  make data         fetch the sample reviews into data/'
	@echo '  make weights      fetch a small pretrained BERT into data/minilm'
	@echo '  make constraints  pin again after a change of setup.py (ARGS=--upgrade: newest versions)'
	@echo '  make clean        remove what builds and tools left; keeps .venv, data and runs'
	@echo '  make distclean    remove .venv and data too; keeps runs'
	@echo
	@echo 'What trains, tests or lints installs and fetches what it needs first.'
	@echo '  PYTHON=python3.12          the interpreter for a new .venv (3.11 to 3.13)'
	@echo '  ARGS="-k attention"        more arguments for the program, here pytest'

install: $(STAMP)

# An interrupted installation is repaired: pip writes RECORD last, so a package without one is
# half there and is forgotten, to be installed anew. One installation at a time, by flock.
$(STAMP): setup.py constraints.txt
	@set -e; \
	exec 9<Makefile; if command -v flock >/dev/null; then flock 9; fi; \
	if ! $(PY) -c '$(VENV_FITS)' 2>/dev/null; then \
	    set -- '$(PYTHON)'; \
	    if [ -z "$$1" ]; then \
	        set -- python3.13 python3.12 python3.11 python3 \
	            "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[123].*/bin/python3; \
	    fi; \
	    for python; do \
	        if "$$python" -c '$(FITS)' 2>/dev/null; then break; fi; \
	        python=; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo 'error: no Python 3.11, 3.12 or 3.13 with its venv module among:' "$$@" \
	            '(install one, or name it: make PYTHON=/path/to/python3.12 ...)' >&2; \
	        exit 2; \
	    fi; \
	    echo "Making .venv with $$("$$python" --version)"; \
	    "$$python" -m venv --clear .venv; \
	elif [ "$$($(PY) -c '$(WHOLE)' 2>/dev/null)" = True ] \
	        && [ $@ -nt setup.py ] && [ $@ -nt constraints.txt ]; then \
	    exit 0; \
	fi; \
	rm -f $@; \
	for info in .venv/lib/python3.*/site-packages/*.dist-info; do \
	    if [ -d "$$info" ] && [ ! -e "$$info/RECORD" ]; then rm -rf "$$info"; fi; \
	done; \
	rm -rf .venv/lib/python3.*/site-packages/~*; \
	$(PY) -m pip install --quiet --constraint constraints.txt setuptools wheel; \
	$(PY) -m pip install --no-build-isolation --constraint constraints.txt --editable '.[dev]'; \
	$(PY) -c 'import os; open("$@", "w").write(os.getcwd())'

data: install
	$(PY) scripts/fetch_sample.py --output=data

weights: install
	$(PY) scripts/fetch_sample_weights.py --output=data/minilm

train: install data
	$(PY) -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart $(ARGS)

bert: install data weights
	$(PY) -m launch.train --config=configs/minilm_sample.py --workdir=runs/bert $(ARGS)

compare: install data weights
	$(PY) scripts/compare.py --plot=runs/compare/comparison.png $(ARGS)

# Another config takes the place of this one: make smoke ARGS=--config=my.py
smoke: install data
	$(PY) -m launch.smoke $(if $(findstring --config=,$(ARGS)),,--config=configs/smoke.py) $(ARGS)

test: install data weights
	$(PY) -m pytest -m "not long and not slow and not promises and not cluster and not browser" \
	    -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: install data weights
	$(PY) -m pytest -m "long and not slow and not promises and not cluster and not browser" \
	    -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-promises: install data
	$(PY) -m pytest -m "promises and not slow" -n 2 --dist loadfile $(ARGS)

test-cluster: install data
	$(PY) -m pytest -m "cluster and not slow" $(ARGS)

test-browser: install data weights
	$(PY) -m pytest -m "browser and not slow" $(ARGS)

torture: install data weights
	$(PY) -m pytest -m slow --timeout=3600 $(ARGS)

# The same inputs for the same seed: make fuzz ARGS=--seed=1
fuzz: install
	$(PY) tests/fuzz/driver.py $(ARGS)

# PyTorch is no dependency: what is compared with it has an environment of its own.
TORCH := build/parity/bin/python

test-parity: install weights build/parity/.installed
	PARITY_PYTHON=$(TORCH) $(PY) -m pytest -sv tests/models/test_parity.py \
	    tests/models/test_parity_torch.py tests/models/test_export_torch.py $(ARGS)

build/parity/.installed: constraints.txt | install
	$(PY) -m venv --clear build/parity
	$(TORCH) -m pip install --quiet --constraint constraints.txt \
	    torch==2.13.0 transformers safetensors numpy
	touch $@

# What is exported must answer where this library is not: a TensorFlow of its own.
BARE := build/bare/bin/python

test-bare: install build/bare/.installed
	rm -rf build/bare/run
	$(PY) -m launch.train --config=configs/smoke.py --workdir=build/bare/run
	RUN=build/bare/run BARE_PYTHON=$(BARE) $(PY) -m pytest -sv tests/export/test_savedmodel.py \
	    -k bare $(ARGS)

build/bare/.installed: constraints.txt | install
	$(PY) -m venv --clear build/bare
	$(BARE) -m pip install --quiet --constraint constraints.txt setuptools tensorflow tensorflow-text
	touch $@

# What others reach on the same reviews, each in an environment of its own.
bench: install data weights build/peers/.installed
	$(PY) -m scripts.benchmarks.peers $(ARGS)

bench-learning: install data weights build/peers/.installed
	$(PY) -m scripts.benchmarks.learning $(ARGS)

# Kept over time: make bench-quick ARGS=--record=docs/logs/step_speed.csv
bench-quick: install
	$(PY) -m scripts.benchmarks.speed step $(ARGS)

build/peers/.installed: scripts/benchmarks/peers_torch.txt scripts/benchmarks/peers_keras.txt | install
	@set -ex; for of in torch keras; do \
	    $(PY) -m venv --clear build/peers/$$of; \
	    build/peers/$$of/bin/python -m pip install --quiet --requirement scripts/benchmarks/peers_$$of.txt; \
	done
	touch $@

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy trainer thaw launch
	$(PY) scripts/docstrings.py trainer thaw launch scripts configs tests

format: install
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# The pins fit Python 3.11 to 3.13 on Linux and macOS alike; pins that still fit are kept.
constraints: install
	$(PY) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet uv
	build/constraints/bin/uv pip compile setup.py --quiet --universal --python-version=3.11 \
	    --all-extras --annotation-style=line --custom-compile-command='make constraints' \
	    --output-file=constraints.txt $(ARGS)

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . \( -name .venv -o -name .git -o -name data -o -name runs \) -prune \
	    -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean
	rm -rf .venv data
