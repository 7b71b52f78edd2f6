"""Runs of `refdesk eval` kept in files, and compared: the values and rankings of every query.

A file is one JSON object: `format` (1), `set` (`name` and `digest`), `report` (what the command printed) and
`queries`, which holds by query id the measures and `ranking`, pairs of document id and score, best first.
Whoever ranks the same set by other means can write such a file and have it compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.comparing import ENOUGH_QUERIES, N_RESAMPLES, SEED, paired_bootstrap
from retrieval.metrics import RANKING_MEASURES
from serving.cli.beir import RetrievalSet
from serving.cli.errors import CommandError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run as its file holds it.

    Attributes:
        set_name: Name of the folder it was taken from.
        set_digest: `RetrievalSet.digest` of that set.
        report: What the run printed.
        queries: Measures and ranking by query id.
    """

    set_name: str
    set_digest: str
    report: Mapping[str, Any]
    queries: Mapping[str, Mapping[str, Any]]


def write_run(
    path: Path, read: RetrievalSet, report: Mapping[str, Any], queries: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write a run to a file, replacing what is there.

    Raises:
        CommandError: The file cannot be written.
    """
    kept = {
        "format": FORMAT,
        "set": {"name": read.name, "digest": read.digest},
        "report": report,
        "queries": queries,
    }
    try:
        path.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise CommandError("unwritable_run", f"{path} cannot be written: {error}") from error


def read_run(path: Path) -> SavedRun:
    """Read a run from a file.

    Raises:
        CommandError: The file cannot be read, or holds something else; the message says so.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] != FORMAT:
            raise ValueError(f"format {kept['format']} is not known")  # noqa: TRY301  # one word for all of them
        queries = {
            str(query): {
                "ranking": values["ranking"],
                **{name: float(values[name]) for name in RANKING_MEASURES},
            }
            for query, values in kept["queries"].items()
        }
        return SavedRun(str(kept["set"]["name"]), str(kept["set"]["digest"]), dict(kept["report"]), queries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "Run eval with --save FILE first."
        raise CommandError("unreadable_run", f"{path} is not what --save writes", hint) from error


def require_comparable(earlier: SavedRun, read: RetrievalSet) -> None:
    """Refuse a run that nothing of this set can be compared with.

    Raises:
        CommandError: It is of another set, or shares no query with those that are to be run.
    """
    if earlier.set_digest != read.digest:
        if earlier.set_name == read.name:
            message = (
                f"the saved run is of {read.name} in another state: documents, queries or judgements differ"
            )
        else:
            message = f"the saved run is of the set {earlier.set_name}, this one is {read.name}"
        raise CommandError("other_set", message, "Runs compare on one and the same set only.")
    if not earlier.queries.keys() & read.judgements.keys():
        hint = "Use the same --half and --limit-queries in both runs."
        raise CommandError("no_common_queries", "the two runs have no query in common", hint)


def compare(
    queries: Mapping[str, Mapping[str, Any]], earlier: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The difference to an earlier run by measure, over the queries that both have (at least one)."""
    shared = sorted(queries.keys() & earlier.keys())
    measures = {}
    for name in RANKING_MEASURES:
        ours = {query: float(queries[query][name]) for query in shared}
        theirs = {query: float(earlier[query][name]) for query in shared}
        difference = paired_bootstrap(ours, theirs)
        measures[name] = {
            "ours": round(sum(ours.values()) / len(shared), 4),
            "theirs": round(sum(theirs.values()) / len(shared), 4),
            "difference": round(difference.mean, 4),
            "interval_95": [round(difference.low, 4), round(difference.high, 4)],
            "verdict": difference.verdict.value,
        }
    return {
        "n_queries": len(shared),
        "enough_queries": len(shared) >= ENOUGH_QUERIES,
        "method": f"paired bootstrap, {N_RESAMPLES} resamples, seed {SEED}, 95 % percentile interval",
        "measures": measures,
    }
