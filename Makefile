# The two commands: `make run` makes results/report.html, `make test` checks the code.
# `make help` lists all of them.

PYTHON ?= python3
CORES ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count())')
# Your own configuration: `make run CONFIG=mine.yaml`.
CONFIG ?=
# The CPU build of torch comes without gigabytes of CUDA; `TORCH=torch==2.13.0` takes PyPI's own.
TORCH ?=
TORCH_VERSION := $(shell sed -n 's/^torch==//p' envs/requirements.lock)
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

BIN := .venv/bin
COMMAND = $(BIN)/llm-anatomy
CONFIGFILE = --configfile "$(or $(CONFIG),config/config.yaml)"
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Many short processes import torch; without compiled modules each takes twice as long to start.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
# How many mutants `make mutants` plants; after tests were added, AGAIN=1 plants the survivors.
SAMPLE ?= 300
AGAIN ?=
.PHONY: help run test lint unit quick site slurm-test quantised-test s3-test resume-test wheel-test scale-test kernel-test browser-test atlas-scale-test assets bench bench-gpu mutants docs plan verify clean install

help: ## Say what can be made.
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

run: $(INSTALLED) ## Run config/config.yaml (or CONFIG=mine.yaml) and name the report.
	@$(COMMAND) run --cores $(CORES) $(CONFIGFILE)

test: $(INSTALLED) lint unit ## Lint and test everything.

lint: $(INSTALLED) ## Check style, types and the workflow's form.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile rules
	$(BIN)/snakemake --lint

unit: $(INSTALLED) ## Run the tests.
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/workflow
	$(BIN)/python -m pytest tests/workflow

# Where `main` is not at hand: `make quick BASE=origin/main`.
BASE ?= main

quick: $(INSTALLED) ## Check style and types, and run the unit tests of what differs from BASE (main).
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	chosen="$$($(BIN)/python -m tests.quick $(BASE))" && test -z "$$chosen" || $(BIN)/python -m pytest $$chosen

site: $(INSTALLED) ## Build the documentation site into site/; a warning is an error.
	$(PIP) install -q --no-deps -r envs/docs.lock
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The site: $(CURDIR)/site/index.html"

slurm-test: $(INSTALLED) ## Run on a real SLURM (as root: apt-get install slurm-wlm munge).
	$(BIN)/python -m pytest -m slow tests/slurm

quantised-test: $(INSTALLED) ## Check 8- and 4-bit weights (bitsandbytes is installed from PyPI for the test).
	$(BIN)/python -m pytest -m slow tests/quantised

s3-test: $(INSTALLED) ## Run with results in a local S3 server (installed from PyPI for the test).
	$(BIN)/python -m pytest -m slow tests/storage

resume-test: $(INSTALLED) ## Kill a run twenty times and compare its results byte by byte.
	$(BIN)/python -m pytest -m slow tests/workflow/test_resume.py

wheel-test: $(INSTALLED) ## Build the wheel, install it elsewhere and run it from an empty folder.
	$(BIN)/python -m pytest -m slow tests/wheel

scale-test: $(INSTALLED) ## Twenty million tokens of 32 layers through the stages that read them.
	$(BIN)/python -m pytest -s -m slow tests/scale

kernel-test: $(INSTALLED) ## Test a card's kernels, without a card through Triton's interpreter (installed for the test).
	$(BIN)/python -m pytest -m slow tests/kernels

browser-test: $(INSTALLED) ## Drive the atlas and the report with Chromium (as root: apt-get install chromium).
	$(BIN)/python -m pytest -m slow --ignore tests/browser/test_large.py tests/browser

atlas-scale-test: $(INSTALLED) ## The atlas of 458,752 neurons in Chromium: time and memory.
	$(BIN)/python -m pytest -s -m slow tests/browser/test_large.py

assets: $(INSTALLED) ## Fetch the atlas's libraries again from npm, and check that they are the pinned ones.
	$(BIN)/python -m llm_anatomy.cli.assets

# Peers stand in environments of their own, for their pins; one that cannot be installed is left out.
BENCHED := smollm2-135m-instruct
PEERS := transformer_lens nnsight
bench: $(INSTALLED) ## Measure beside the plain work and beside peers on this processor (10 minutes on a quiet one).
	@for peer in $(PEERS); do test -f .bench/$$peer/.installed && continue; \
	pip=".bench/$$peer/bin/python -m pip --disable-pip-version-check install -q --retries 1"; \
	$(PYTHON) -m venv .bench/$$peer && { $$pip "torch==$(TORCH_VERSION)+cpu" 2> /dev/null \
	|| $$pip --index-url $(TORCH_CPU_INDEX) "torch==$(TORCH_VERSION)" 2> /dev/null || $$pip "torch==$(TORCH_VERSION)"; } \
	&& $$pip -r envs/bench-$$peer.lock && touch .bench/$$peer/.installed || rm -rf .bench/$$peer; done
	$(BIN)/snakemake --cores $(CORES) results/models/$(BENCHED)/provenance.json
	$(BIN)/python -m benchmarks.side_by_side results/models/$(BENCHED)/provenance.json --peers .bench \
	$(addprefix --detector ,$(firstword $(wildcard results/toxicity/$(BENCHED)/*/detector.safetensors)))

bench-gpu: $(INSTALLED) ## Measure on the first card, with random weights of an 8B model's shapes (5 minutes).
	$(BIN)/python -m benchmarks.card

# The tester has a venv of its own: none of it is in the lock that the workflow and its tests run with.
mutants: $(INSTALLED) ## Plant SAMPLE small faults in a copy, count those that tests notice (hours; resumable).
	@test -x .mutants/venv/bin/python || $(PYTHON) -m venv .mutants/venv
	@.mutants/venv/bin/python -c 'import cosmic_ray' 2> /dev/null || .mutants/venv/bin/python -m pip --disable-pip-version-check install -q \
	"$$($(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["mutants"])')"
	nice .mutants/venv/bin/python -m tests.mutants --python $(BIN)/python --sample $(SAMPLE) $(if $(AGAIN),--again)

docs: $(INSTALLED) ## Rewrite the generated pages (tables, keys, modules, rules, support) and the conda file.
	$(BIN)/python -m llm_anatomy.cli.reference
	$(BIN)/python -m tests.support
	@# The picture of the rules needs graphviz; without it the last one stays.
	if command -v tred > /dev/null; then $(BIN)/snakemake --rulegraph --forceall \
	| tred | dot -Tsvg -o docs/images/rulegraph.svg; fi

plan: $(INSTALLED) ## Say what every job of config/config.yaml (or CONFIG=mine.yaml) will need.
	@$(COMMAND) plan $(CONFIGFILE)

verify: $(INSTALLED) ## Check every result against results/manifest.json.
	$(COMMAND) verify

clean: ## Remove results, logs and caches; keep .venv.
	rm -rf results/[!R]* logs site .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis

install: $(INSTALLED) ## Make .venv with the locked packages.

# Installs again only when the lock or the package's metadata changed.
$(INSTALLED): envs/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "LLM Anatomy needs Python 3.11 or later; name one with PYTHON=…")'
	$(PYTHON) -m venv .venv
	@$(if $(TORCH),\
	$(PIP) install -q "$(TORCH)",\
	$(PIP) install -q --no-deps --no-compile "torch==$(TORCH_VERSION)+cpu" 2>/dev/null \
	|| $(PIP) install -q --no-deps --no-compile --retries 0 --timeout 20 --index-url $(TORCH_CPU_INDEX) "torch==$(TORCH_VERSION)" 2>/dev/null \
	|| $(PIP) install -q "torch==$(TORCH_VERSION)")
	@# Two at a time: pip unpacks one package after another.
	grep -v '^#' envs/requirements.lock | xargs -P 2 -n 64 $(PIP) install -q --no-deps --no-compile
	$(PIP) install -q --no-deps --no-build-isolation -e .
	@touch $@
