# The project's commands. `make` alone lists them.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
# tests wait for processes of their own: two leave a third of two cores idle
JOBS   ?= 3

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed-from-lock

# Nothing here phones home. DO_NOT_TRACK has to read "true": MLflow knows no other spelling.
export DO_NOT_TRACK := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY := false
export MLFLOW_DISABLE_TELEMETRY := true
export RAY_USAGE_STATS_ENABLED := 0
export STREAMLIT_BROWSER_GATHER_USAGE_STATS := false
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format check dashboard docs lock clean

help: ## List the commands
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

install: $(STAMP) ## Make .venv and install the locked dependencies and the gem command

demo: $(STAMP) ## Fine-tune, score, register, judge and promote a small model, end to end
	@$(BIN)/gem demo $(ARGS)

test: $(STAMP) ## Run the tests in JOBS=3 processes; ARGS="-k mask" picks some, ARGS="-m long" those of a minute and more
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadscope --no-loadscope-reorder -m 'not long' $(ARGS)

lint: $(STAMP) ## Check style, types and the walls between the packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## Put the code in order: what lint can mend by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

check: lint test ## Everything that has to pass before a commit

dashboard: $(STAMP) ## Open the dashboard on loopback
	@$(BIN)/gem dashboard $(ARGS)

docs: $(STAMP) ## Write the generated pages: docs/commands.md and docs/recipes.md
	@$(BIN)/python -m typer flows.cli utils docs --name gem --title "The gem command" --output docs/commands.md
	@$(BIN)/python -m gem_core.recipe.reference > docs/recipes.md

lock: $(STAMP) ## Resolve requirements.lock again; ARGS=--upgrade takes newer versions
	@$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --extra dev \
		--excludes infra/lock-excludes.txt --custom-compile-command "make lock" --output-file requirements.lock $(ARGS)

clean: ## Remove the environment and every cache of the checkout; runs under GEM_HOME stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Installed once for each state of the lock: an interrupted installation leaves no stamp and is taken up again.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "GEM Platform needs Python 3.11 or newer, and $(PYTHON) is not: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@echo "Installing into $(VENV): a few minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
