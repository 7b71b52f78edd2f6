"""`refdesk eval`: the quality and speed of search and answers on a retrieval set."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from retrieval.metrics import paired_bootstrap
from retrieval.query import SearchMode
from retrieval.settings import Settings, load_settings
from serving.cli.beir import read_set
from serving.cli.errors import CommandError
from serving.cli.measuring import Measured, measure
from serving.cli.output import print_json, print_table, progress_bar
from serving.cli.shape import ExampleCommand

_COMPARED = ("ndcg@10", "recall@10", "recall@100", "mrr@10")


@click.command(
    "eval",
    cls=ExampleCommand,
    examples=(
        "refdesk eval sets/scifact --json",
        "refdesk eval sets/scifact --mode sparse --per-query sparse.json",
        "refdesk eval sets/scifact --against sparse.json",
    ),
)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--mode", type=click.Choice([mode.value for mode in SearchMode]), default="hybrid")
@click.option(
    "--embeddings-cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep embeddings here, so that the next run on the same set is quick.",
)
@click.option("--limit-queries", type=click.IntRange(min=1), help="At most so many queries, always the same.")
@click.option("--per-query", type=click.Path(dir_okay=False, path_type=Path), help="Write values by query.")
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare with what --per-query wrote in another run: paired bootstrap, 95 % interval.",
)
@click.option("--no-answers", is_flag=True, help="Leave out answers even if the set has answers.jsonl.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def eval_command(
    directory: Path,
    mode: str,
    embeddings_cache: Path | None,
    limit_queries: int | None,
    per_query: Path | None,
    against: Path | None,
    no_answers: bool,
    as_json: bool,
) -> None:
    """Measure retrieval and answers on a set in BEIR form.

    DIRECTORY holds corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv), and answers.jsonl where
    answers are known. The set is indexed through the real pipeline into a folder that is thrown away.
    """
    earlier = _read_earlier(against) if against else {}
    read = read_set(directory).sampled(limit_queries)
    with tempfile.TemporaryDirectory(prefix="refdesk-eval-") as scratch, progress_bar() as progress:
        settings = _throw_away(load_settings(), Path(scratch), embeddings_cache)
        measured = measure(
            read,
            settings,
            mode=SearchMode(mode),
            with_answers=bool(read.expected) and not no_answers,
            progress=progress,
        )
    if limit_queries:
        measured.report["config"]["limit_queries"] = limit_queries
    if per_query:
        per_query.write_text(json.dumps({"report": measured.report, "queries": measured.queries}))
    if against:
        measured.report["against"] = _compare(measured, earlier)
    _print(measured.report, as_json=as_json)


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


def _read_earlier(path: Path) -> dict[str, dict[str, Any]]:
    try:
        queries: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["queries"]
        return {str(query): dict(values) for query, values in queries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "Run eval with --per-query FILE first."
        raise CommandError("unreadable_run", f"{path} is not what --per-query writes", hint) from error


def _compare(measured: Measured, earlier: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Difference to an earlier run, by measure."""
    if not measured.queries.keys() & earlier.keys():
        raise CommandError("unreadable_run", "the two runs have no query in common")
    found = {}
    for name in _COMPARED:
        ours = {query: float(values[name]) for query, values in measured.queries.items()}
        theirs = {query: float(values[name]) for query, values in earlier.items() if name in values}
        difference = paired_bootstrap(ours, theirs)
        found[name] = {
            "difference": round(difference.mean, 4),
            "interval_95": [round(difference.low, 4), round(difference.high, 4)],
            "n_queries": difference.n_queries,
            "clear": difference.is_clear,
        }
    return found


def _print(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    scalars = [(name, value) for name, value in report.items() if not isinstance(value, dict)]
    print_table(("measure", "value"), scalars, empty="")
    for name, facts in report.get("against", {}).items():
        low, high = facts["interval_95"]
        verdict = "clear" if facts["clear"] else "not clear"
        print(f"{name}: {facts['difference']:+.4f} [{low:+.4f}, {high:+.4f}], {verdict}")
    print(json.dumps(report["config"], ensure_ascii=False), file=sys.stderr)
