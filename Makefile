# `make demo` and `make test` need Python 3.10 or newer and pip, nothing else.
PYTHON ?= python3
VENV ?= .venv
# A version with a CPU build; elsewhere pip may fetch one for CUDA, which works as well.
TORCH ?= torch==2.13.0
# Programs that tests compare with. What they need besides is left out: torchvision must be built for this very PyTorch.
CAM_TOOLS = 'torchcam==0.5.0; python_version >= "3.11"' grad-cam==1.5.7 ttach==0.0.3 captum==0.9.0 tqdm
MINUTES ?= 5
RUN = $(VENV)/bin

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: FORCE help demo test ci fuzz faults check format docs bench caffe-root docker clean

help: ## Say what can be made.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

ANOTHER = name another Python, as in PYTHON=python3.12 make $(MAKECMDGOALS)
# Says what stands in the way of an environment, or which Python it would be.
define PYTHON_CHECK
import sys
if sys.version_info < (3, 10):
    sys.exit("pycam needs Python 3.10 or newer, and $(PYTHON) is %d.%d: $(ANOTHER)" % sys.version_info[:2])
try:
    import ensurepip
except ImportError:
    sys.exit("$(PYTHON) cannot make environments: apt-get install python%d.%d-venv" % sys.version_info[:2])
print(sys.version, sys.base_prefix)
endef
export PYTHON_CHECK

# An environment of another Python is replaced.
$(VENV)/pyvenv.cfg: FORCE
	@command -v $(PYTHON) >/dev/null || { echo "there is no $(PYTHON): $(ANOTHER)" >&2; exit 1; }
	@python=$$($(PYTHON) -c "$$PYTHON_CHECK") || exit 1; \
	[ -e $@ ] && [ "$$python" = "$$($(RUN)/python -c "$$PYTHON_CHECK" 2>/dev/null)" ] || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }

$(VENV)/.core: pyproject.toml $(VENV)/pyvenv.cfg
	$(RUN)/python -m pip install --quiet --upgrade pip
	$(RUN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.all: $(VENV)/.core
	$(RUN)/python -m pip install --quiet '$(TORCH)'
	$(RUN)/python -m pip install --quiet --editable '.[demo,openvino,ncnn,torch,opencv,cluster,lmdb,hdf5,paper,web,test,check,docs]'
	$(RUN)/python -m pip install --quiet --no-deps $(CAM_TOOLS)
	@touch $@

demo: $(VENV)/.core ## Heat maps and a small evaluation of four photographs, from nothing.
	$(RUN)/pycam demo

test: $(VENV)/.all ## Run the tests.
	@$(RUN)/python -m pycam.page.runtime || echo "the tests marked ortweb are skipped" >&2
	$(RUN)/python -m pytest -q -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

ci: ## Run all that CI runs; nothing is skipped (needs root for real Caffe and Chromium).
	.ci/run

fuzz: $(VENV)/.all ## Give every reader damaged files, for MINUTES=5; draw new examples for the tests of properties.
	$(RUN)/python tests/fuzz.py --minutes $(MINUTES)
	$(RUN)/python -m pytest -q -m hypothesis --hypothesis-profile=search

faults: $(VENV)/.all ## Sweep faults whole: names, locales, streams, signals at every moment, every call that fails (hours).
	PYCAM_FAULTS=1 $(RUN)/python -m pytest -q -m faults

check: $(VENV)/.all ## Check format, style, types, and packages for known vulnerabilities.
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	.ci/audit $(RUN)/pip-audit

format: $(VENV)/.all ## Format the code.
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

docs: $(VENV)/.all ## Build the site of the documents, with the references and the gallery, into build/docs.
	$(RUN)/python docs/site/pages.py build/pages
	$(RUN)/zensical build --clean --strict
	$(RUN)/python docs/site/check.py build/docs

bench: $(VENV)/.all ## Measure speed: a table of ratios.
	$(RUN)/python benchmarks/reading.py
	$(RUN)/python benchmarks/maps.py
	$(RUN)/python benchmarks/scoring.py
	$(RUN)/python benchmarks/coverage.py
	$(RUN)/python benchmarks/scaling.py
	$(RUN)/python benchmarks/viewer.py
	$(RUN)/python benchmarks/page.py
	$(RUN)/python benchmarks/evaluate.py
	$(RUN)/python benchmarks/pipeline.py

caffe-root: ## Make a folder with a real Caffe 1.0 (needs root once).
	docker/caffe/make-root.sh

docker: $(VENV)/.core ## Build the images without Docker, and try them (needs root and buildah).
	PATH="$(abspath $(RUN)):$$PATH" docker/check.sh

clean: ## Remove what was made here.
	rm -rf $(VENV) dist build demo-output .cache
