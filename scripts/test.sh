#!/usr/bin/env bash
# Lints, type-checks and tests on a fresh machine: makes .venv and installs imclass with its dev extras.
#   bash scripts/test.sh [pytest arguments]
#   bash scripts/test.sh --cov      # with coverage, which must reach 90 %
#   bash scripts/test.sh -m soak    # what is random or long
#   bash scripts/test.sh -m slurm   # batch jobs, beside a Slurm
set -euo pipefail
extras="[dev]"
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
export PATH="$PWD/.venv/bin:$PATH"
unset PYTHONDONTWRITEBYTECODE  # each file is compiled once, not by every process
free=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1 || true)  # in memory, a sync costs nothing
if [[ -z ${TMPDIR:-} && ${free:-0} -gt 4000000 ]]; then export TMPDIR=/dev/shm; fi
ruff check .
ruff format --check .
{ lint-imports && mypy; } & rules=$!  # beside the tests, which leave cores idle
pytest -n 5 "$@"
wait "$rules"
