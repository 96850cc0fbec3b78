#!/usr/bin/env bash
# Seconds until the command line answers --help and a misspelt key: median of 5.
#   bash scripts/bench/cold_start.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../venv.sh"
median() {
  for _ in 1 2 3 4 5; do
    start=$(date +%s.%N); "$@" >/dev/null 2>&1 || true; end=$(date +%s.%N)
    awk -v a="$start" -v b="$end" 'BEGIN { printf "%.3f\n", b - a }'
  done | sort -n | sed -n 3p
}
echo "bare python -c pass          $(median .venv/bin/python -c pass)"
echo "imclass --help               $(median .venv/bin/imclass --help)"
echo "imclass train optimzer.lr=1  $(median .venv/bin/imclass train optimzer.lr=1)"
