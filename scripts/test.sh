#!/usr/bin/env bash
# Lints, type-checks and tests on a fresh machine: makes .venv and installs imclass with its dev extras.
#   bash scripts/test.sh [pytest arguments]
set -euo pipefail
extras="[dev]"
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
export PATH="$PWD/.venv/bin:$PATH"
ruff check .
ruff format --check .
mypy
lint-imports
if (($#)); then exec pytest "$@"; fi
exec pytest --cov=imclass --cov-report=term-missing:skip-covered --cov-fail-under=90
