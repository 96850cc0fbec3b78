#!/usr/bin/env bash
# Trains on a fresh machine: makes .venv, installs imclass, runs `imclass train` with your overrides.
#   bash scripts/train.sh [group=choice ...] [key=value ...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
exec .venv/bin/imclass train "$@"
