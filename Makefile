# What a person types here; `make` alone prints the list. Every target sets up what it needs, once.
# Environments: .venv (demo or development), .venv-sam (the SAM command line, which pins older boto3 and pydantic),
# .venv-ministack (a whole AWS that the template is deployed to, for `make prove` only), node_modules (two DynamoDB
# engines that referee the tests), .uv (the installer, when it is not on PATH).

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

UV_VERSION := 0.13.8
uv_on_path := $(shell command -v uv 2>/dev/null)
export UV := $(or $(uv_on_path),$(CURDIR)/.uv/bin/uv)
export SAM_CLI_TELEMETRY := 0

DOCUMENT ?=
BACKEND ?=
PYTEST_ARGS ?=
say := printf '%s\n'

# The first interpreter that answers and that the locks have packages for. A pyenv shim may exist and not work, so each one
# is asked. The newer ones come last: the demo's OCR has no release for 3.13 and 3.14, and then needs tesseract.
fits := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
find_python := python=; for p in $(PYTHON) python3.12 python3.11 python3.13 python3.14 python3; do \
	if "$$p" -c '$(fits)' 2>/dev/null; then python=$$p; break; fi; done; \
	if [ -z "$$python" ]; then \
	echo "Python 3.11 to 3.14 was not found. Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; fi

# A stamp in each environment is newer than its lock file, or the environment is brought up to date.
DEMO := .venv/.ready-demo
DEV := .venv/.ready-dev
SAM := .venv-sam/.ready
MINISTACK := .venv-ministack/.ready
# The development environment contains the demo's: a demo after `make test` must not throw the rest away.
RUN := $(if $(wildcard $(DEV)),$(DEV),$(DEMO))
INSTALLER := $(if $(uv_on_path),,.uv/bin/uv)

.PHONY: help setup demo test check prove bench build deploy lock clean distclean engines

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV) $(SAM) engines ## everything that the other targets need, and nothing else

demo: $(RUN) ## miss, memory hit, table hit, receipts (DOCUMENT=file.pdf; BACKEND=bedrock|sagemaker|triton|chandra|openai|ocr)
	@.venv/bin/hookcache demo $(if $(BACKEND),--backend "$(BACKEND)") $(if $(DOCUMENT),"$(DOCUMENT)")

test: $(DEV) $(SAM) engines ## the whole suite but the long proofs (PYTEST_ARGS="-k lease")
	@.venv/bin/python -m pytest -m "not prove" $(PYTEST_ARGS)

check: $(DEV) $(SAM) engines ## format, lint, types, template, then the suite
	@$(say) "Checking format and lint"
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/ruff check --quiet .
	@$(say) "Checking types"
	@.venv/bin/mypy --no-error-summary
	@$(say) "Checking template.yaml"
	@.venv/bin/cfn-lint template.yaml functions/*/template.yaml workflows/template.yaml
	@$(MAKE) test

# Nothing may be skipped there for want of an engine.
prove: export HOOKCACHE_REQUIRE_ENGINES := 1
prove: $(DEV) $(SAM) $(MINISTACK) engines ## the long proofs: engines, processes, faults, models, a deployed stack; each check named
	@rm -f build/prove/figures.jsonl
	@failed=0; \
	prove() { .venv/bin/python -m pytest --durations=10 "$$@" $(PYTEST_ARGS) || case $$? in 5) ;; *) failed=1;; esac; }; \
	$(say) "Two at a time: models, properties, faults, mutants, a deployed stack"; \
	prove -m "prove and not alone" -n 2 --dist loadfile --no-loadscope-reorder; \
	$(say) "One after the other: what measures time"; \
	prove -m "prove and alone" --verbose; \
	.venv/bin/python tests/prove_table.py $(if $(PYTEST_ARGS),--partial) && exit $$failed

bench: engines | $(INSTALLER) ## figures of this machine beside others', into build/bench/latest.json (BENCH_ARGS="--only table")
	@if [ ! .venv-bench/.ready -nt requirements/bench.lock ]; then $(say) "Setting up .venv-bench with the peers"; \
		$(call sync,.venv-bench,requirements/bench.lock); touch .venv-bench/.ready; fi
	@PYTHONPATH="$(CURDIR)/middleware:$(CURDIR)" .venv-bench/bin/python -m bench $(BENCH_ARGS)

build: $(SAM) | $(INSTALLER) ## the deployable artifacts: .aws-sam/build for SAM, build/dist/*.zip for everybody else, and what is in each
	@$(say) "Building functions and layers for Lambda"
	@.venv-sam/bin/sam build --template template.yaml >/dev/null
	@rm -rf build/dist build/x86_64
	@for function in HookFunction EraseFunction; do \
		$(call pack,.aws-sam/build/$$function,$$function-arm64) && \
		ARTIFACTS_DIR="$(CURDIR)/build/x86_64/$$function" HOOKCACHE_BUILD_PLATFORM=x86_64-manylinux_2_28 \
			$(MAKE) --silent --makefile functions/Makefile build-$$function && \
		$(call pack,build/x86_64/$$function,$$function-x86_64) || exit 1; done
	@$(call pack,.aws-sam/build/LayerArm64,hookcache-layer-arm64)
	@$(call pack,.aws-sam/build/LayerX86,hookcache-layer-x86_64)

# $(call pack,FOLDER,NAME): build/dist/NAME.zip, the same bytes for the same files, with its sizes printed, and NAME.cdx.json.
pack = .venv-sam/bin/python functions/pack.py "$(1)" "build/dist/$(2).zip"

deploy: build ## builds, then a guided deployment of one wrapper (HOOKCACHE_BUILD_ENCRYPT=1 for Encrypt=on)
	@.venv-sam/bin/sam deploy --guided --capabilities CAPABILITY_IAM

# Versions and hashes only: no lock names the registry it came from. UPGRADE=1 moves every version that may move.
lock: | $(INSTALLER) ## requirements/*.lock from requirements/*.in (UPGRADE=1: newest versions)
	@for set in runtime encrypt triton demo dev bench sam ministack; do \
		$(say) "Locking requirements/$$set.in"; \
		override="--override requirements/overrides.txt"; case $$set in sam|ministack) override=;; esac; \
		"$(UV)" pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
			$(if $(UPGRADE),--upgrade) $$override "requirements/$$set.in" --output-file "requirements/$$set.lock" || exit 1; done

clean: ## remove what was built and cached
	@rm -rf build .aws-sam .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find bench functions middleware tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## and the environments
	@rm -rf .venv .venv-bench .venv-sam .venv-ministack .uv node_modules

# ------------------------------------------------------------------------------------------------ environments

.uv/bin/uv:
	@$(say) "Setting up uv $(UV_VERSION) in .uv"
	@$(find_python); "$$python" -m venv .uv || { \
		echo "python3 -m venv failed: install your system's venv package (Debian, Ubuntu: python3-venv)" >&2; exit 1; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

# $(call sync,FOLDER,LOCK): the folder holds exactly what the lock lists. An unusable interpreter is replaced.
sync = set -e; \
	if ! "$(1)/bin/python" -c '$(fits)' 2>/dev/null; then \
		$(find_python); "$(UV)" venv --quiet --clear --python "$$python" "$(1)"; fi; \
	"$(UV)" pip sync --quiet --require-hashes --python "$(1)/bin/python" "$(2)"

# `uv pip sync` removes what its lock does not list, hookcache itself included: it is put back each time.
sync_project = $(call sync,.venv,$(1)); \
	"$(UV)" pip install --quiet --no-deps --no-build-isolation --python .venv/bin/python --editable .

# The Python that is named is the one that is taken: a .venv of another is made anew.
version_of = $(shell "$(1)" -c '$(fits)' 2>/dev/null && "$(1)" -c 'import sys; print(sys.version.split()[0])')
ifeq ($(origin PYTHON),command line)
named := $(call version_of,$(PYTHON))
ifeq ($(named),)
$(error PYTHON=$(PYTHON) does not run, or is none of Python 3.11 to 3.14; name another, as in: make PYTHON=python3.12 test)
endif
ifneq ($(named),$(call version_of,.venv/bin/python))
$(DEMO) $(DEV): another-python
endif
endif

.PHONY: another-python
another-python:
	@rm -rf .venv

$(DEMO): requirements/demo.lock pyproject.toml | $(INSTALLER)
	@$(say) "Setting up .venv for the demo (about a minute the first time)"
	@$(call sync_project,requirements/demo.lock)
	@touch $@

$(DEV): requirements/dev.lock pyproject.toml | $(INSTALLER)
	@$(say) "Setting up .venv for development (about a minute the first time)"
	@$(call sync_project,requirements/dev.lock)
	@touch $@

$(SAM): requirements/sam.lock | $(INSTALLER)
	@$(say) "Setting up .venv-sam for the SAM command line"
	@$(call sync,.venv-sam,requirements/sam.lock)
	@touch $@

$(MINISTACK): requirements/ministack.lock | $(INSTALLER)
	@$(say) "Setting up .venv-ministack for the deployed template"
	@$(call sync,.venv-ministack,requirements/ministack.lock)
	@touch $@

# Without npm, or without its registry, the tests that need the engines are skipped and say so, unless
# HOOKCACHE_REQUIRE_ENGINES=1 turns the gap into a failure.
engines:
	@if [ node_modules/.ready -nt package-lock.json ]; then exit 0; fi; \
	if ! command -v npm >/dev/null; then why="npm is not installed"; \
	else $(say) "Setting up node_modules: DynamoDB engines for the tests"; \
		if npm ci --silent --no-audit --no-fund; then touch node_modules/.ready; exit 0; fi; why="npm ci failed"; fi; \
	echo "$$why: the DynamoDB engines are missing, tests that need them are skipped" >&2; \
	[ "$$HOOKCACHE_REQUIRE_ENGINES" != 1 ]
