#!/usr/bin/env bash
# Makes a virtual environment with everything the desk needs, and exports the embedding model into it.
# usage: requirements/setup.sh [base|scale|dev]      VENV=.venv  PYTHON=python3
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
kind=${1:-base}
lock=requirements/$kind.lock
mark=$venv/.installed-$kind
inputs="$lock requirements/torch.txt requirements/setup.sh pyproject.toml retrieval/adapters/minilm_export.py"

stamp=$(cat $inputs | sha256sum | cut -d' ' -f1)
if [ -f "$mark" ] && [ "$(cat "$mark")" = "$stamp" ]; then exit 0; fi

say() { printf '\033[1m%s\033[0m\n' "$*"; }

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Refdesk needs Python 3.11 or newer." >&2; exit 1; }
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"

# uv installs in a quarter of pip's time; where it cannot be had, pip does the same work.
say "Setting up $venv ($kind) …"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements/uv.txt || say "uv is not available, pip takes its place"

# The CPU build of torch has a local version (+cpu) that the package index never serves, so the first line
# fails fast unless pip's own settings know a place for it; the second asks the place that uv knows by name.
if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --retries 1 -r requirements/torch.txt 2>/dev/null ||
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --torch-backend cpu -r requirements/torch.txt
fi
if ! "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --require-hashes -r "$lock"; then
  say "uv could not install the lock file, pip takes its place"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$lock"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
"$venv/bin/pip" check >/dev/null

"$venv/bin/python" -W ignore -m retrieval.adapters.minilm_export "$venv/share/refdesk/models"
printf '%s' "$stamp" > "$mark"
