#!/bin/sh
# Makes the environment of the `vllm` test tier: the real vLLM, CPU build, pinned by hash.
#
# Usage: tests/vllm/setup_vllm.sh        does nothing when the environment already matches the lock
#   PYTHON            interpreter to build on, 3.11 (default: python3.11)
#   REFDESK_VLLM_VENV where the environment goes (default: .venv-vllm next to .venv)
#
# torch comes first and by itself, as in the main environment: pip finds the CPU wheel wherever it is
# configured to look (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL). Everything else must match its hash.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
venv=${REFDESK_VLLM_VENV:-$root/.venv-vllm}
lock=$root/requirements/vllm.lock
torch='torch==2.13.0+cpu'

wanted="$torch $(sha256sum "$lock" | cut -d' ' -f1)"
if [ "$(cat "$venv/refdesk-lock" 2>/dev/null || true)" = "$wanted" ]; then
    echo "vllm environment is up to date: $venv"
    exit 0
fi

rm -rf "$venv"
"${PYTHON:-python3.11}" -m venv "$venv"
python=$venv/bin/python
"$python" -m pip install --quiet --no-deps "$torch"

uv=$(command -v uv || true)
if [ -z "$uv" ] && [ -x "$root/.venv/bin/uv" ]; then
    uv=$root/.venv/bin/uv
fi
if [ -n "$uv" ]; then
    "$uv" pip install --quiet --python "$python" --no-deps --require-hashes -r "$lock"
else
    "$python" -m pip install --quiet --no-deps --require-hashes -r "$lock"
fi

"$python" -c 'import torch, vllm; print("vllm", vllm.__version__, "torch", torch.__version__)'
printf '%s\n' "$wanted" > "$venv/refdesk-lock"
echo "vllm environment is ready: $venv"
