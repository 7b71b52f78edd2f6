"""`refdesk eval`: the quality and speed of search and answers on a retrieval set."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from retrieval.comparing import ENOUGH_QUERIES, Half
from retrieval.query import SearchMode
from retrieval.settings import Settings, load_settings
from serving.cli.beir import RetrievalSet, read_set
from serving.cli.errors import CommandError
from serving.cli.measuring import measure
from serving.cli.output import print_json, print_table, progress_bar
from serving.cli.saved_run import SavedRun, compare, read_run, require_comparable, write_run
from serving.cli.shape import ExampleCommand


@click.command(
    "eval",
    cls=ExampleCommand,
    examples=(
        "refdesk eval sets/scifact --json",
        "refdesk eval sets/scifact --mode sparse --half test --save sparse.json",
        "refdesk eval sets/scifact --half test --against sparse.json",
    ),
)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--mode", type=click.Choice([mode.value for mode in SearchMode]), default="hybrid")
@click.option(
    "--half",
    type=click.Choice([half.value for half in Half]),
    help="Only this half of the queries, split by a hash of their ids: tune on one, report the other.",
)
@click.option("--limit-queries", type=click.IntRange(min=1), help="At most so many queries, always the same.")
@click.option(
    "--embeddings-cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep embeddings here, so that the next run on the same set is quick.",
)
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Write values and rankings by query."
)
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare with what --save wrote in another run: paired bootstrap, 95 % interval.",
)
@click.option("--no-answers", is_flag=True, help="Leave out answers even if the set has answers.jsonl.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def eval_command(
    *,
    directory: Path,
    mode: str,
    half: str | None,
    limit_queries: int | None,
    embeddings_cache: Path | None,
    save: Path | None,
    against: Path | None,
    no_answers: bool,
    as_json: bool,
) -> None:
    """Measure retrieval and answers on a set in BEIR form.

    DIRECTORY holds corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv), and answers.jsonl where
    answers are known. The set is indexed through the real pipeline into a folder that is thrown away.
    """
    earlier = read_run(against) if against else None
    read = _chosen(directory, half, limit_queries)
    if earlier:
        require_comparable(earlier, read)
    if save and not save.absolute().parent.is_dir():
        raise CommandError("unwritable_run", f"there is no folder for {save}")
    with tempfile.TemporaryDirectory(prefix="refdesk-eval-") as scratch, progress_bar() as progress:
        settings = _throw_away(load_settings(), Path(scratch), embeddings_cache)
        measured = measure(
            read,
            settings,
            mode=SearchMode(mode),
            with_answers=bool(read.expected) and not no_answers,
            progress=progress,
        )
    measured.report["config"] |= {"half": half, "limit_queries": limit_queries}
    if save:
        write_run(save, read, measured.report, measured.queries)
    if earlier:
        measured.report["against"] = compare(measured.queries, earlier.queries)
    _print(measured.report, earlier, as_json=as_json)


def _chosen(directory: Path, half: str | None, limit_queries: int | None) -> RetrievalSet:
    read = read_set(directory).half(Half(half) if half else None).sampled(limit_queries)
    if not read.judgements and not read.expected:
        which = f"in the half {half}" if half else "with a relevant document"
        raise CommandError("no_queries", f"{read.name} has no query {which}")
    return read


def _throw_away(settings: Settings, scratch: Path, embeddings_cache: Path | None) -> Settings:
    """The settings of now, for a desk that keeps nothing and serves nobody."""
    return settings.model_copy(
        update={
            "data": scratch / "state",
            "docs": None,
            "directory": None,
            "identity": "local",
            "catalogue_url": "",
            "broker_url": "memory://",
            "embedding_cache": embeddings_cache / "embeddings.db" if embeddings_cache else None,
        }
    )


def _print(report: Mapping[str, Any], earlier: SavedRun | None, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    scalars = [(name, value) for name, value in report.items() if not isinstance(value, dict)]
    print_table(("measure", "value"), scalars, empty="")
    if earlier:
        print()
        _print_comparison(report["against"])
    print(json.dumps(report["config"], ensure_ascii=False), file=sys.stderr)


def _print_comparison(compared: Mapping[str, Any]) -> None:
    rows = [
        (name, facts["ours"], facts["theirs"], f"{facts['difference']:+.4f}",
         "{:+.4f} to {:+.4f}".format(*facts["interval_95"]), facts["verdict"])
        for name, facts in compared["measures"].items()
    ]  # fmt: skip
    columns = ("measure", "this run", "saved run", "difference", "95 % interval", "verdict")
    print_table(columns, rows, empty="")
    print(f"{compared['n_queries']} common queries; {compared['method']}")
    if not compared["enough_queries"]:
        print(f"Fewer than {ENOUGH_QUERIES} common queries: too few to decide.")
