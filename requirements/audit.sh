#!/usr/bin/env bash
# Looks for known vulnerabilities of the pinned versions, with `uv audit`, which asks a vulnerability service.
# Ends with 1 when it finds any. Without a network nothing can be said: it says so, and ends with 0.
# usage: requirements/audit.sh [LOCK…]      VENV=.venv
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${VENV:-.venv}/bin/uv
[ -x "$uv" ] || { echo "SKIPPED dependency audit: uv is not installed (requirements/uv.txt)"; exit 0; }
uv=$(realpath "$uv")
locks=("${@:-requirements/dev.lock}")

# `uv audit` reads projects, so the pins become one. As overrides they hold whatever else a package asks for.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pins=$(sed -nE 's/^([A-Za-z0-9._-]+(\[[^]]*\])?==[^ \\]+)( *;[^\\]*)? *\\?$/"""\1\3""",/p' "${locks[@]}" | sort -u)
[ -n "$pins" ] || { echo "there is no pinned version in ${locks[*]}" >&2; exit 2; }
cat > "$work/pyproject.toml" <<END
[project]
name = "audited"
version = "0"
requires-python = ">=3.11"
dependencies = [
$pins
]
[tool.uv]
override-dependencies = [
$pins
]
END

code=0
(cd "$work" && UV_HTTP_TIMEOUT=20 "$uv" audit --preview-features audit-command) > "$work/said" 2>&1 || code=$?
if [ "$code" = 2 ] && grep -qE 'error sending request|Request failed|HTTP status|dns error|timed out' "$work/said"; then
  echo "SKIPPED dependency audit: the vulnerability service cannot be reached from here"
  exit 0
fi
cat "$work/said"
exit "$code"
