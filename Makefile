# What can be done here. `make help` lists it. Everything is set up on first use, in .venv.
# Without make (Windows): the commands of README.md do the same.

.POSIX:

PYTHON = python3
VENV = .venv
RUN = $(VENV)/bin/python
READY = $(VENV)/ready
READY_DEV = $(VENV)/ready-dev
OUTPUT = build
DOCS = .venv-docs
NODE = tests/node
ARGUMENTS =

.SUFFIXES:
.PHONY: help setup lab tutorial check test test-clients test-anywhere lint notebooks screenshots azure-report bench fidelity clients errors architecture mutations badge binder cold-start site clean

help:
	@echo 'make lab          open JupyterLab on the first notebook; ARGUMENTS go to jupyter lab'
	@echo 'make tutorial     run all notebooks without a screen and write a report to $(OUTPUT)/'
	@echo 'make check        before a commit: lint, and the tests that take no processes; less than a minute'
	@echo 'make test         everything about our own code: tests, notebooks, official SDKs, a browser'
	@echo 'make test-clients   official clients in other languages'
	@echo 'make test-anywhere  larger parts of the tests in other surroundings'
	@echo 'make lint         style, types, spelling and the form of the notebooks'
	@echo 'make notebooks    execute the notebooks and renew their outputs where they changed'
	@echo 'make screenshots  take pictures of notebooks in a browser, into $(OUTPUT)/screenshots/, and that of README'
	@echo 'make azure-report  run notebooks on your Azure and on the simulator, and write how the answers differ'
	@echo 'make bench        measure the simulator'
	@echo 'make fidelity     renew docs/fidelity.md: what the simulator supports, and where its answers come from'
	@echo 'make clients      renew the tables of docs/clients.md: which client the tests tried with what'
	@echo 'make errors       renew docs/errors.md: what every error means'
	@echo 'make architecture  renew the picture in docs/architecture.md, and find imports that it does not allow'
	@echo 'make mutations    change the simulator in a hundred small ways, and see which of them the tests notice'
	@echo 'make badge        write the address of your public copy into README, handout and 02, from the remote of git'
	@echo 'make binder       renew binder/requirements.txt after a change of requirements.txt'
	@echo 'make site         make web pages of notebooks and documents, in $(OUTPUT)/site/'
	@echo 'make cold-start   from a clone to the first device, like somebody new; says what each step takes'
	@echo 'make setup        only install what all of these need, into $(VENV)/'
	@echo 'make clean        remove $(OUTPUT)/, the workspace and all caches; $(VENV)/ stays'

setup: $(READY_DEV)
	@test $(PYTHON) = python3 || { $(INSTALL) contributor ; }
	@echo 'Ready: $(VENV)/'

# An environment that is there is renewed by its own Python, unless another one was named. helpers/installation.py takes
# uv where it is installed, pip otherwise, and marks the environment as ready when everything is there.
INSTALL = python=$(PYTHON) named= ; \
	  if test $(PYTHON) != python3 ; then named=--named ; \
	  elif $(RUN) helpers/python_versions.py >/dev/null 2>&1 ; then python=$(RUN) ; fi ; \
	  $$python helpers/python_versions.py && $$python -m helpers.installation $$named $(VENV)

# nothing is ready without a Python; a link to one that is gone counts as none
$(RUN):
	@rm -f $(READY) $(READY_DEV)

# what learners need
$(READY): $(RUN) requirements.txt pyproject.toml simulator/pyproject.toml
	@echo 'Setting up $(VENV)/ (once; some seconds with uv, a minute or two with pip) ...'
	@$(INSTALL) learner

# and what contributors add
$(READY_DEV): $(RUN) requirements.txt requirements-dev.txt pyproject.toml simulator/pyproject.toml
	@echo 'Setting up $(VENV)/ for contributors (once; some seconds with uv, a minute or two with pip) ...'
	@$(INSTALL) contributor

# The root is this folder, not notebooks/, or links to README.md and docs/ would lead nowhere. In a container one is
# often root, and Jupyter wants to be told that this is meant.
lab: $(READY)
	@root= ; test "$$(id -u)" != 0 || root=--allow-root ; \
	  $(RUN) -m jupyter lab $$root --KernelManager.transport_encryption=auto \
	  --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(ARGUMENTS)

tutorial: $(READY)
	@$(RUN) -m helpers.runner tutorial --output $(OUTPUT) $(ARGUMENTS)

lint: $(READY_DEV)
	@echo 'Style ...'
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check .
	@echo 'Types ...'
	@$(VENV)/bin/mypy --no-error-summary
	@echo 'Notebooks ...'
	@$(RUN) -m helpers.runner lint
	@echo 'Spelling ...'
	@$(RUN) -m tools.spelling
	@$(VENV)/bin/codespell
	@echo 'Secrets ...'
	@$(RUN) -m tools.secret_scan

# the official packages for Node that the tests run; without Node those tests are skipped, except in CI
$(NODE)/node_modules/ready: $(NODE)/package.json $(NODE)/package-lock.json
	@if command -v node >/dev/null && command -v npm >/dev/null ; then \
	  echo 'Packages for Node ...' ; \
	  cd $(NODE) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && touch node_modules/ready ; \
	elif test -n "$$CI" ; then echo 'CI needs Node.js and npm: apt-get install nodejs npm' >&2 ; exit 1 ; \
	else echo 'Node.js and npm are not installed: the tests of its packages are skipped.' ; fi

# Two runs. Coverage is for our own code; what the official SDKs, the notebooks and a browser show is that the whole works.
PYTEST = $(RUN) -m pytest -n 4
# more, as these wait for other programs much of the time; in the order in which they are listed, longest first
PYTEST_OF_WHOLE = $(RUN) -m pytest -n 8 --dist loadgroup --no-loadscope-reorder
OTHERS = not clients and not anywhere
WHOLE = sdk or notebooks or browser
# the pure parts of the simulator with the endpoints, whose tests take no processes
ROOMS = tests/simulator/common tests/simulator/credentials tests/simulator/provisioning tests/simulator/hub \
  tests/simulator/resource tests/simulator/protocols tests/simulator/wire
# what must be covered completely
PURE = simulator/dps_simulator/provisioning/*,simulator/dps_simulator/hub/*,simulator/dps_simulator/resource/*,simulator/dps_simulator/credentials/*,simulator/dps_simulator/protocols/*
# folders without such tests; to collect them takes each worker some seconds
PARTS = $(ROOMS:%=--ignore=%) --ignore=tests/simulator/server

test: lint
	@echo 'Tests of our own code ...'
	@$(PYTEST) --dist worksteal -m 'not ($(WHOLE)) and $(OTHERS)' \
	  --ignore=tests/sdk --ignore=tests/browser \
	  --cov --cov-branch --cov-report=term:skip-covered --cov-fail-under=90
	@$(RUN) -m coverage report --skip-covered --fail-under=100 \
	  --include='$(PURE)' --omit='*/api/*' > $(VENV)/coverage.txt || { \
	  cat $(VENV)/coverage.txt; echo 'The domain and the protocols must be covered completely.' >&2; exit 1; }
	@echo 'Tests with the official SDKs, the notebooks and a browser ...'
	@$(PYTEST_OF_WHOLE) -m '($(WHOLE)) and $(OTHERS)' $(PARTS)

# official clients in other languages
test-clients: $(READY_DEV) $(NODE)/node_modules/ready
	@echo 'Tests with official clients in other languages ...'
	@$(PYTEST) --dist worksteal -m clients tests/sdk

# runs of larger parts of the suite in other surroundings
test-anywhere: $(READY_DEV)
	@echo 'Tests in other surroundings ...'
	@$(PYTEST_OF_WHOLE) -m anywhere $(PARTS)

# what one runs before each commit
check: lint
	@echo 'Tests of the domain, the protocols and the endpoints ...'
	@$(RUN) -m pytest -q -n 2 --dist worksteal $(ROOMS) \
	  tests/helpers/runner/test_lint_rules.py tests/helpers/runner/test_normalise.py tests/repository

notebooks: $(READY)
	@$(RUN) -m helpers.runner notebooks $(ARGUMENTS)

# light and dark, wide and narrow; without Chromium the tests are skipped and there are no pictures
screenshots: $(READY_DEV)
	@DPS_SCREENSHOTS=$(OUTPUT)/screenshots $(RUN) -m pytest -q -m browser tests/browser $(ARGUMENTS)
	@test ! -d $(OUTPUT)/screenshots/readme || cp $(OUTPUT)/screenshots/readme/*.png docs/pictures/

# needs the settings of an own Azure; what is written has no keys and no names of whoever ran it
azure-report: $(READY)
	@$(RUN) -m helpers.comparison --output $(OUTPUT)/azure-report $(ARGUMENTS)

bench: $(READY_DEV)
	@$(RUN) -m benchmarks $(ARGUMENTS)

fidelity: $(READY)
	@$(RUN) -m tools.fidelity docs/fidelity.md

clients: $(READY)
	@$(RUN) -m tools.clients docs/clients.md

errors: $(READY)
	@$(RUN) -m tools.errors_document docs/errors.md

architecture: $(READY)
	@$(RUN) -m tools.architecture docs/architecture.md

# not a part of any other: a quarter of an hour, and what survives is for people to judge
mutations: $(READY_DEV)
	@$(RUN) -m tools.mutations $(OUTPUT)/mutations.md $(ARGUMENTS)

badge: $(READY)
	@$(RUN) -m tools.badge $(ARGUMENTS)

# an environment of its own, of the same Python: it needs no SDK, and who runs the tests does not need it
$(DOCS)/ready: $(READY) requirements-docs.txt
	@echo 'Setting up $(DOCS)/ for the site (once) ...'
	@$(RUN) -m venv --clear $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $(DOCS)/ready

# Nothing is executed: the pages show what is committed. ARGUMENTS go to sphinx-build; `-b linkcheck` asks other servers.
site: $(READY) $(DOCS)/ready
	@$(RUN) -m tools.site $(OUTPUT)/site-sources
	@$(DOCS)/bin/python -m sphinx -q -E -W --keep-going -n $(ARGUMENTS) $(OUTPUT)/site-sources $(OUTPUT)/site
	@echo 'Open $(OUTPUT)/site/index.html'

binder:
	@$(PYTHON) binder/lock.py

cold-start: $(READY)
	@$(RUN) -m tools.cold_start $(ARGUMENTS)

clean:
	@rm -rf $(OUTPUT) .workspace .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	@find . -name __pycache__ -not -path './$(VENV)/*' -not -path './$(DOCS)/*' -prune -exec rm -rf {} +
