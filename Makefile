# make demo · make test · make lab · make bench. All paths are relative: the folder's own path may hold spaces.

# The first interpreter that can make the environment; choose another with: make PYTHON=/path/to/python demo
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	2>/dev/null && echo "$$python" && break; done)
RUN := .venv/bin/python -m

.PHONY: demo test lab bench strip gallery
demo: .venv/installed
	$(RUN) ledexlib run params/demo.yaml --run demo

test: .venv/installed
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder

lab: .venv/installed
	$(RUN) jupyterlab notebooks

bench: .venv/installed
	@set -e; for script in tests/benchmarks/*.py; do echo "== $$script"; .venv/bin/python "$$script"; done

# Take outputs and execution metadata out of the notebooks before they are committed.
strip: .venv/installed
	$(RUN) nbconvert --clear-output --inplace --ClearMetadataPreprocessor.enabled=True \
	"--ClearMetadataPreprocessor.preserve_cell_metadata_mask={'tags'}" \
	"--ClearMetadataPreprocessor.preserve_nb_metadata_mask={'kernelspec'}" notebooks/*.ipynb

# Keep a run for readers: its executed notebooks without machine-specific metadata, and its metrics; those of its
# evaluation, the headline, as metrics.json. make gallery OF=demo
gallery: .venv/installed
	@set -e; for done in outputs/$(OF)/[0-9][0-9]_*/done.json; do \
	stage=$$(basename "$$(dirname "$$done")"); case "$$stage" in *.old-*) continue;; esac; \
	$(RUN) nbconvert --to notebook --output-dir "outputs/gallery/$(OF)" --ClearMetadataPreprocessor.enabled=True \
	"--ClearMetadataPreprocessor.preserve_cell_metadata_mask={'tags'}" \
	"--ClearMetadataPreprocessor.preserve_nb_metadata_mask={'kernelspec'}" "outputs/$(OF)/$$stage/$$stage.ipynb"; \
	cp "outputs/$(OF)/$$stage/metrics.json" "outputs/gallery/$(OF)/$$stage.json"; \
	if [ "$$stage" = 06_evaluate ]; then $(RUN) ledexlib.headline "outputs/$(OF)" > "outputs/gallery/$(OF)/metrics.json"; fi; \
	done

.venv/installed: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed and was not found; install it, or \
	name it: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; }
	test -x .venv/bin/python || "$(PYTHON)" -m venv .venv
	$(RUN) pip install -r requirements.txt
	$(RUN) pip install --no-deps --no-build-isolation --editable .
	touch .venv/installed
