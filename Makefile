# Metamedica. Two commands on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1
ifneq ($(wildcard ../shared/data),)
export METAMEDICA_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help install demo test check format bench-accuracy bench-clinical bench-engine bench-fed-heart bench-golden bench-images bench-many-diseases bench-molecules bench-scaling bench-trust bench-unlabelled readme model model-any-table model-cells model-heart model-kinase-affinity model-lung-ct model-toxicity clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

$(STAMP): pyproject.toml constraints.txt
	@python=$$(for p in python3.12 python3.11 python3; do \
	  if command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then echo $$p; break; fi; done); \
	if [ -z "$$python" ]; then echo 'Python 3.11, 3.12 or 3.13 was not found; install one and run make again.' >&2; exit 2; fi; \
	test -x $(PY) || "$$python" -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[molecules,images,export,tune,audit,dev]'
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps MoleculeACE==3.0.0
	@touch $(STAMP)

install: $(STAMP)  ## make .venv and install everything, pinned by constraints.txt

demo: $(STAMP)  ## the main job on real molecules, in about two minutes; writes demo/report.html
	$(VENV)/bin/metamedica demo --out demo $(ARGS)

test: $(STAMP)  ## run the tests
	$(PY) -m pytest -n 2

check: $(STAMP)  ## everything that CI runs: format, lint, types, import contracts, tests, documents
	$(VENV)/bin/ruff format --check src tests benchmarks
	$(VENV)/bin/ruff check src tests benchmarks
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m pytest -n 2

format: $(STAMP)  ## format and mend what a tool can mend
	$(VENV)/bin/ruff check --fix src tests benchmarks
	$(VENV)/bin/ruff format src tests benchmarks

bench-accuracy: $(STAMP)  ## few-shot molecules: settings x methods, and the leaderboard (hours, resumes); ARGS=--quick for two minutes
	$(PY) -m benchmarks.accuracy $(ARGS)

bench-golden: $(STAMP)  ## the papers' generated experiments with our learners, beside their numbers; ARGS=--quick for a minute
	$(PY) -m benchmarks.golden $(ARGS)

bench-clinical: $(STAMP)  ## a new site with few labelled patients: families of clinical tables x methods (an hour or two, resumes); ARGS=--quick
	$(PY) -m benchmarks.clinical $(ARGS)

bench-fed-heart: $(STAMP)  ## the published Fed-Heart split, our rows beside it (a minute; needs METAMEDICA_DATA)
	$(PY) -m benchmarks.fed_heart $(ARGS)

bench-many-diseases: $(STAMP)  ## a new disease from 20 patients: the model of any table beside tuned methods (an hour, resumes); ARGS=--quick
	$(PY) -m benchmarks.many_diseases $(ARGS)

bench-images: $(STAMP)  ## a handful of labelled images: classes, segmentation, speed, splits (two hours, resumes; needs METAMEDICA_DATA); ARGS=--quick
	$(PY) -m benchmarks.images $(ARGS)

bench-engine: $(VENV)/.peers  ## speed and memory of a meta-step beside what people use; ARGS=--quick for a minute
	$(PY) -m benchmarks.engine $(ARGS)

$(VENV)/.peers: $(STAMP)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers]'
	@touch $@

bench-molecules: $(STAMP)  ## speed, memory and accuracy on molecules; ARGS=--quick for two minutes
	$(PY) -m benchmarks.molecules $(ARGS)

bench-scaling: $(STAMP)  ## meta-training on two processes, and the error of rounded steps; ARGS=--quick for two minutes
	$(PY) -m benchmarks.scaling $(ARGS)

bench-trust: $(STAMP)  ## do no harm, calibration, sets, abstention, warnings, reasons (an hour, resumes; needs METAMEDICA_DATA); ARGS=--quick
	$(PY) -m benchmarks.trust $(ARGS)

bench-unlabelled: $(STAMP)  ## a new site with cases that nobody has labelled: domain adaptation (a quarter of an hour); ARGS=--quick
	$(PY) -m benchmarks.unlabelled $(ARGS)

readme: $(STAMP)  ## write the figures of the last benchmark and demonstration into both READMEs and the models' cards
	$(PY) -m benchmarks.readme
	$(PY) -m benchmarks.make_chembl_potency --card-only
	$(PY) -m benchmarks.make_any_table --card-only
	$(PY) -m benchmarks.make_toxicity --card-only

model: $(STAMP)  ## train the meta-model that ships (some minutes; needs METAMEDICA_DATA)
	$(PY) -m benchmarks.make_chembl_potency $(ARGS)

model-heart: $(STAMP)  ## train the meta-model of clinical tables that ships (a minute; needs METAMEDICA_DATA)
	$(PY) -m benchmarks.make_heart $(ARGS)

model-cells: $(STAMP)  ## train the meta-model of blood cells that ships (15 minutes; needs METAMEDICA_DATA)
	$(PY) -m benchmarks.make_image_models --name cells $(ARGS)

model-lung-ct: $(STAMP)  ## train the meta-model of lungs that ships (15 minutes; needs METAMEDICA_DATA)
	$(PY) -m benchmarks.make_image_models --name lung-ct $(ARGS)

model-any-table: $(STAMP)  ## train the meta-model of any table that ships (half an hour, ARGS=--resume; needs METAMEDICA_DATA)
	$(PY) -m benchmarks.make_any_table $(ARGS)

model-toxicity: $(STAMP)  ## train the meta-model of toxicity assays that ships, and judge it (a quarter of an hour, resumes; needs METAMEDICA_DATA)
	$(PY) -m benchmarks.make_toxicity $(ARGS)

model-kinase-affinity: $(STAMP)  ## train a meta-model of kinase inhibitors to ARGS="--out FOLDER" (half an hour, resumes; needs METAMEDICA_DATA)
	$(PY) -m benchmarks.make_kinase_affinity $(ARGS)

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis demo
