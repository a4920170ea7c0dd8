# `make run` and `make test` do all that a newcomer needs; `make` alone lists what there is.

PYTHON ?= python3
PORT = 8050
WORKSPACE =
TORCH_INDEX =

VENV := .venv
BIN := $(VENV)/bin
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint format pictures notebook clean browser scripts

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18
	@echo 'Options: PORT=8051  WORKSPACE=folder  PYTHON=python3.12  TORCH_INDEX=https://download.pytorch.org/whl/cpu'

run: $(VENV)/.stamp-run ## install what is missing and serve the dashboard at http://127.0.0.1:8050
	@exec $(BIN)/aevis serve $(WORKSPACE) --port $(PORT)

test: $(VENV)/.stamp-test browser lint ## install what the tests need and run them all
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.stamp-test scripts ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

format: $(VENV)/.stamp-test ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

pictures: $(VENV)/.stamp-test browser ## draw the pictures of the page in docs/ anew
	@$(BIN)/python docs/pictures.py

notebook: $(VENV)/.stamp-test browser ## run docs/panda.ipynb and keep its outputs
	@[ -e cache/drawn-world ] || $(BIN)/aevis world cache/drawn-world --quiet
	@$(BIN)/python docs/notebook.py

clean: ## remove the environment and everything computed
	rm -rf $(VENV) node_modules .pytest_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks dist build *.egg-info
	find aevis_dash tests -name __pycache__ -prune -exec rm -rf {} +
	find cache -mindepth 1 -maxdepth 1 ! -name .gitkeep -exec rm -rf {} +

# The environment. A stamp is as new as the pyproject.toml that was installed, so pip runs only when that changed.

$(VENV)/.stamp-run: pyproject.toml
	$(check_python)
	@$(call install,.) && touch $@

$(VENV)/.stamp-test: pyproject.toml
	$(check_python)
	@$(call install,.[test]) && touch $@ $(VENV)/.stamp-run

# A Python that is new enough: $(PYTHON), else the newest of Debian's names for one; empty where there is none.
found_python = $(shell for name in $(PYTHON) python3.13 python3.12 python3.11; do \
	if "$$name" $(NEW_ENOUGH) 2>/dev/null; then echo "$$name"; break; fi; done)
has_venv = $(shell $(1) -c 'import ensurepip, venv' 2>/dev/null && echo yes)
is_whole = $(shell $(BIN)/python -m pip --version >/dev/null 2>&1 && $(BIN)/python $(NEW_ENOUGH) && echo yes)

# Stops with one line, before anything is made, where no environment can be made.
check_python = $(if $(wildcard $(VENV)),$(call check_old),$(call check_new,$(found_python)))
check_old = $(if $(is_whole),,$(error $(VENV) holds no working Python 3.11 or newer. Remove it with `make clean`, then say `make $(MAKECMDGOALS)` again))
check_new = $(if $(1),$(if $(call has_venv,$(1)),,$(error $(1) has no venv module. Install it (Debian, Ubuntu: apt-get install python3-venv), then say `make $(MAKECMDGOALS)` again)),$(error Python 3.11 or newer is needed and $(PYTHON) is not. Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11))

# Install $(1) into $(VENV). An environment that this very run has made goes away again if the run fails.
define install
made=; [ -d $(VENV) ] || made=yes; \
trap '[ "$$?" -eq 0 ] || [ -z "$$made" ] || rm -rf $(VENV)' EXIT; trap 'exit 130' INT TERM; set -e; \
if [ -n "$$made" ]; then echo 'Making $(VENV); the first time takes some minutes.'; $(found_python) -m venv $(VENV); fi; \
if [ -n '$(TORCH_INDEX)' ]; then $(BIN)/python -m pip install --index-url '$(TORCH_INDEX)' torch torchvision; fi; \
$(BIN)/python -m pip install --disable-pip-version-check -e '$(1)'
endef

# The page's scripts are checked by eslint and TypeScript, which npm installs into node_modules once for each lock file,
# and again only where a script or a setting has changed since.
# Where that cannot be, one line says so, and all else goes on.
NPM_CI = npm ci --no-audit --no-fund --fetch-retries=0 --fetch-timeout=20000
LINTED = assets/*.js aevis_dash/pagespeed/*.js *.json *.mjs *.d.ts node_modules/.installed
new_node = -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 18 || (a === 18 && b >= 18) ? 0 : 1)'
unchecked = echo "The scripts in assets/ were not checked: $(1)."

scripts:
	@if ! command -v npm >/dev/null || ! node $(new_node) 2>/dev/null; then \
		$(call unchecked,npm with Node.js 18.18 or newer is needed); exit 0; fi; \
	if ! cmp -s package-lock.json node_modules/.installed && \
		! { $(NPM_CI) >/dev/null 2>&1 && cp package-lock.json node_modules/.installed; }; then \
		$(call unchecked,npm could not install what checks them (npm ci tells why)); exit 0; fi; \
	if [ -n "$$(find $(LINTED) -newer node_modules/.linted 2>&1)" ]; then npm run --silent lint && touch node_modules/.linted; fi

# The browser tests walk the page in a Chromium.
has_browser = command -v chromedriver >/dev/null && \
	for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	if command -v $$name >/dev/null; then echo yes; break; fi; done | grep -q yes
apt_install = DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends

browser:
	@if $(has_browser); then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq; \
		$(apt_install) chromium chromium-driver || $(apt_install) chromium-browser chromium-chromedriver; \
	fi; \
	if $(has_browser); then exit 0; fi; \
	echo 'The browser tests need Chromium and chromedriver: install chromium and chromium-driver (Debian) or chromium-browser and chromium-chromedriver (Ubuntu), then say `make test` again.' >&2; \
	exit 1
