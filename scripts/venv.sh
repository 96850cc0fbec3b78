# Sourced by train.sh, test.sh and the benchmarks: makes .venv and installs imclass with $extras.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
  { echo "imclass needs Python 3.10 or newer: set PYTHON=/path/to/python3" >&2; exit 2; }
if [[ ! -x .venv/bin/pip ]] && ! "$python" -m venv .venv >/dev/null 2>&1; then  # Debian packages ensurepip separately
  "$python" -m venv --clear --without-pip .venv
  "$python" -m pip --quiet --python .venv/bin/python install pip
fi
stamp=.venv/installed${extras:-}
wanted=$(cksum pyproject.toml)
if [[ ! -e $stamp || $(cat "$stamp") != "$wanted" ]]; then
  echo "installing imclass into .venv (a few minutes the first time)"
  .venv/bin/pip install --quiet --disable-pip-version-check -e ".${extras:-}" 2> >(grep -v '^WARNING: Location' >&2)
  printf '%s' "$wanted" >"$stamp"
fi
