# Everything runs in .venv, made by the first `make report` or `make test`.
# Another Python: make report PYTHON=python3.13

PYTHON ?= python3
PY := .venv/bin/python
# Installed again only when these two files say something else.
STAMP := .venv/installed-$(shell cat pyproject.toml constraints.txt | cksum | tr ' ' '-')
# A kernel named python3 is this environment's, whatever the user has installed.
export JUPYTER_PREFER_ENV_PATH = 1

.PHONY: help report test lab browser-test bench pdf colab-check clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' Makefile | expand -t 16

report: $(STAMP) ## run all notebooks and build the site
	@$(PY) -m helpers.report all

test: $(STAMP) ## lint, unit tests, then every notebook from top to bottom
	$(PY) -m ruff check src tests notebooks report bench
	$(PY) -m ruff format --check src tests notebooks report bench
	$(PY) -m pytest tests -m "not browser"
	$(PY) -m pytest --nbmake --nbmake-kernel=python3 --nbmake-timeout=600 notebooks/

lab: $(STAMP) ## open your own copies of the notebooks, in work/, in JupyterLab
	@mkdir -p work && cp -n notebooks/*.ipynb work/
	$(PY) -m jupyterlab work

browser-test: $(STAMP) ## look at the built site with a headless Chromium
	$(PY) -m pytest tests -m browser

bench: $(STAMP) ## time the parts of the course
	$(PY) bench/bench.py
	$(PY) bench/service.py

pdf: ## print the last report's reading editions to build/pdf, with Chromium
	@[ -e build/reading ] || { echo "no reading editions: make report" >&2; exit 1; }
	@command -v chromium >/dev/null || { echo "no chromium: install it" >&2; exit 1; }
	@mkdir -p build/pdf
	@for page in build/reading/*.html; do \
	  chromium --headless $$([ "$$(id -u)" != 0 ] || echo --no-sandbox) \
	    --no-pdf-header-footer --virtual-time-budget=20000 \
	    --print-to-pdf="build/pdf/$$(basename "$$page" .html).pdf" "$(CURDIR)/$$page" \
	    2>&1 | grep 'written to file' || exit 1; done

colab-check: $(STAMP) ## install and run two notebooks among Colab's versions (10 GB)
	PYTHON=$(PYTHON) .ci/colab

clean: ## remove what was built; data, results of downloads and .venv stay
	rm -rf build .pytest_cache .ruff_cache .hypothesis

$(STAMP):
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  2>/dev/null || { echo "$(PYTHON) is not a Python 3.11 to 3.13 with venv;" \
	  "install one (Debian: apt install python3-venv) or name it: make PYTHON=python3.13" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "Installing into .venv; the first time takes some minutes and about 7 GB" \
	  "(torch comes with CUDA)."
	@rm -f .venv/installed-*
	@$(PY) -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt -e '.[lab,report,test]'
# Quantus, a peer in tests and bench, asks for opencv-python, whose files would overwrite
# those of opencv-python-headless: it comes without its dependencies, which are here.
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps \
	  -c constraints.txt quantus
	@touch $@
