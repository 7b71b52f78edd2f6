#!/usr/bin/env bash
# Makes a rival's virtual environment from its lock file: CPU torch first, as requirements/setup.sh does.
# usage: benchmarks/rivals/setup.sh llamaindex|haystack|txtai      VENVS=.venv-bench  PYTHON=python3
set -euo pipefail
cd "$(dirname "$0")/../.."
name=$1
venv=${VENVS:-.venv-bench}/$name
lock=benchmarks/rivals/$name.lock
mark=$venv/.installed

stamp=$(cat "$lock" requirements/torch.txt requirements/uv.txt benchmarks/rivals/setup.sh | sha256sum | cut -d' ' -f1)
if [ -f "$mark" ] && [ "$(cat "$mark")" = "$stamp" ]; then exit 0; fi

echo "Setting up $venv …" >&2
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
quiet=(--quiet --disable-pip-version-check)
"$venv/bin/pip" install "${quiet[@]}" -r requirements/uv.txt || echo "uv is not available, pip takes its place" >&2

# requirements/setup.sh explains the two ways to the CPU build.
if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
  "$venv/bin/pip" install "${quiet[@]}" --no-deps --retries 1 -r requirements/torch.txt 2>/dev/null ||
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --torch-backend cpu -r requirements/torch.txt
fi
# Copied, not linked from a cache: NLTK refuses to read files that have several names.
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --link-mode copy --no-deps --require-hashes -r "$lock" ||
  "$venv/bin/pip" install "${quiet[@]}" --no-deps --require-hashes -r "$lock"
"$venv/bin/pip" check >/dev/null
printf '%s' "$stamp" > "$mark"
