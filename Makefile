# make demo · make test · make lab · make bench · make gallery OF=RUN. All paths are relative: the folder's own path may
# hold spaces.

# The first interpreter that can make the environment; choose another with: make PYTHON=/path/to/python demo
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	2>/dev/null && echo "$$python" && break; done)
RUN := .venv/bin/python -m
STRIP := nbstripout --keep-id --extra-keys "metadata.language_info metadata.papermill metadata.widgets cell.metadata.papermill \
	cell.metadata.execution"

# Set in many images; with it every process would compile its imports anew, 20 seconds for each notebook.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint lab bench strip gallery reference
demo: .venv/installed
	.venv/bin/ledex run params/demo.yaml --run demo

test: lint
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder

# What holds of the house: imports between rooms point down, and the code reads as agreed.
lint: .venv/installed
	.venv/bin/lint-imports --no-logo
	$(RUN) ruff check

# JupyterLab at the repository's root. What is saved in notebooks/ stays without outputs in git: nbstripout is its filter.
lab: .venv/installed
	@if git rev-parse --git-dir >/dev/null 2>&1; then \
	git config filter.nbstripout.clean ".venv/bin/python -m $(subst ",\",$(STRIP))"; \
	git config filter.nbstripout.smudge cat; git config filter.nbstripout.required false; fi
	$(RUN) jupyterlab --notebook-dir=. notebooks

bench: .venv/installed
	@set -e; for script in tests/benchmarks/bench_*.py; do echo "== $$script"; .venv/bin/python "$$script"; done

# Take outputs and execution metadata out of the notebooks before they are committed.
strip: .venv/installed
	$(RUN) $(STRIP) notebooks/*.ipynb

# The parameter reference, params/README.md, from the vocabulary.
reference: .venv/installed
	.venv/bin/python tests/parameter_reference.py

# Keep a run for readers: its executed notebooks without machine-specific metadata, and its metrics; those of its
# evaluation, the headline, as metrics.json. make gallery OF=demo
gallery: .venv/installed
	@set -e; for done in outputs/$(OF)/[0-9][0-9]_*/done.json; do \
	stage=$$(basename "$$(dirname "$$done")"); \
	$(RUN) nbconvert --to notebook --output-dir "outputs/gallery/$(OF)" --ClearMetadataPreprocessor.enabled=True \
	"--ClearMetadataPreprocessor.preserve_cell_metadata_mask={'tags'}" \
	"--ClearMetadataPreprocessor.preserve_nb_metadata_mask={'kernelspec'}" "outputs/$(OF)/$$stage/$$stage.ipynb"; \
	cp "outputs/$(OF)/$$stage/metrics.json" "outputs/gallery/$(OF)/$$stage.json"; \
	if [ "$$stage" = 06_evaluate ]; then .venv/bin/ledex headline "outputs/$(OF)" > "outputs/gallery/$(OF)/metrics.json"; fi; \
	done

# Nothing is compiled beforehand, for most of what is installed is never imported: the first import compiles and keeps it.
.venv/installed: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed and was not found; install it, or \
	name it: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; }
	test -x .venv/bin/python || "$(PYTHON)" -m venv .venv
	$(RUN) pip install --no-compile -r requirements.txt
	$(RUN) pip install --no-deps --no-build-isolation --editable .
	touch .venv/installed
