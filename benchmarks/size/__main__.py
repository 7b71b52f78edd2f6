"""Measures what Refdesk's index and search cost at several sizes, and writes docs/benchmarks-size.md.

    python -m benchmarks.size [--chunks 1000 10000 100000 300000] [--page docs/benchmarks-size.md]

Each size has three processes: index, search, recall (`benchmarks/size/run.py`). Sizes that were measured before are
kept, so that large ones can be added when the machine is free; `--fresh` forgets them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import load, machine_facts
from benchmarks.rivals.stages import Stage, run_stage
from benchmarks.size.page import size_page

ROOT = Path(__file__).parent.parent.parent
_STAGES = ("index", "search", "recall")


def main() -> None:
    """Run the command."""
    arguments = _arguments()
    kept = arguments.work / "size.json"
    measured: dict[str, Any] = {}
    if kept.exists() and not arguments.fresh:
        measured = json.loads(kept.read_text(encoding="utf-8"))
    for n_chunks in arguments.chunks:
        print(f"{n_chunks:,} chunks", file=sys.stderr, flush=True)
        measured[str(n_chunks)] = _measure(n_chunks, arguments)
        kept.write_text(json.dumps(measured, indent=1), encoding="utf-8")
    written = size_page(list(measured.values()), machine_facts(), images="images")
    images = arguments.page.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    arguments.page.write_text(written.text, encoding="utf-8")
    for name, drawn in written.charts.items():
        (images / name).write_text(drawn, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--chunks", nargs="*", type=int, default=[1000, 10_000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=ROOT / ".bench")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks-size.md")
    parser.add_argument("--timeout-s", type=float, default=4 * 3600, help="longest time for one stage")
    parser.add_argument("--fresh", action="store_true")
    return parser.parse_args()


def _measure(n_chunks: int, arguments: argparse.Namespace) -> dict[str, Any]:
    scratch = arguments.work.absolute() / "size-scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "state").mkdir(parents=True)
    job = {"state": str(scratch / "state"), "n_chunks": str(n_chunks), "seed": str(arguments.seed)}
    found: dict[str, Any] = {"n_chunks": n_chunks, "load": load()}
    for name in _STAGES:
        stage = Stage(Path(sys.executable), "benchmarks.size.run", name, "-", job)
        bytecode = arguments.work.absolute() / "bytecode"
        found[name] = run_stage(stage, scratch, bytecode=bytecode, timeout_s=arguments.timeout_s)
    shutil.rmtree(scratch)
    return found


if __name__ == "__main__":
    main()
