"""Indexes hostile files among good ones on an embedded desk, and reports what became of both.

    python -m benchmarks.hostile_share [--hostile 2000] [--good 285] [--pairs 3] [--evaluation FOLDER] [--json FILE]

Two parts, each on a fresh desk:

1. all hostile files with a few good ones: every document must end in a terminal state, labelled files with the
   right reason, no parser process may die of a file, and the desk's memory must not grow;
2. good files alone, and the same ones with one hostile file for every nineteen (5 %), in turns: good files per
   second. They are made up, of ten sections each, no two alike (`benchmarks/size/corpus.py`).

FOLDER is a folder with `office/` and `office_bad/synthetic/`, used where it is there. Exit code 1 when a
document is not terminal, fewer than 95 % of labels are right, or a worker or the parser process died.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.hostile_files import Hostile, good_sources, hostile_files
from benchmarks.size.corpus import sample_corpus
from retrieval.access import Principal, UserId
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.corpus import Document
from retrieval.settings import load_settings
from serving.embedded import EmbeddedDesk, open_embedded, request_docs_sync

ROOT = Path(__file__).parent.parent
_MIB = 1024 * 1024
_MAX_FILE_MB = 25
_SHARE = 20
"""One hostile file in so many."""

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run.

    Attributes:
        unfinished: Documents that are in no terminal state.
        labelled: Hostile files with one right outcome, and how many had it.
        wrong: Name, label and outcome of those that had another.
        parser_restarts: Times that the parser process had to be started anew.
        rss_drift_mb: Growth of the desk's resident memory from a quarter of the run to its end.
        good_per_s: Good files a second without and with hostile ones among them, by pair.
        good_lost: Share of that rate which is lost to them, the median of the pairs.
    """

    n_hostile: int
    n_documents: int
    unfinished: int
    outcomes: dict[str, int]
    labelled: int
    right: int
    wrong: list[tuple[str, str, str]]
    parser_restarts: int
    rss_drift_mb: float
    whole_s: float
    good_per_s: list[tuple[float, float]]
    good_lost: float

    @property
    def is_fine(self) -> bool:
        """Whether the desk held."""
        return self.unfinished == 0 and self.right >= 0.95 * self.labelled and self.parser_restarts == 0


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hostile", type=int, default=2_000)
    parser.add_argument("--good", type=int, default=285)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--evaluation", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report = measure(
        arguments.hostile, arguments.good, arguments.evaluation, arguments.seed, n_pairs=arguments.pairs
    )
    text = json.dumps(asdict(report), indent=1)
    if arguments.json:
        arguments.json.write_text(text)
    print(text)
    return 0 if report.is_fine else 1


def measure(n_hostile: int, n_good: int, evaluation: Path | None, seed: int, *, n_pairs: int) -> Report:
    """Run both parts, the second one so many times."""
    folders = [ROOT / "sample" / "handbook", ROOT / "tests" / "golden"]
    folders += [evaluation / "office"] if evaluation else []
    synthetic = evaluation / "office_bad" / "synthetic" if evaluation else None
    too_large = _MAX_FILE_MB * _MIB + 1
    files = list(
        hostile_files(
            good_sources(*folders), synthetic, count=n_hostile, too_large_bytes=too_large, seed=seed
        )
    )
    with tempfile.TemporaryDirectory(prefix="hostile-share-") as name:
        folder = Path(name)
        run = _run(folder / "all", files, n_good=20)
        few = files[:: max(1, len(files) // max(1, n_good // (_SHARE - 1)))][: n_good // (_SHARE - 1)]
        pairs = [
            (
                _run(folder / f"good-{number}", [], n_good=n_good),
                _run(folder / f"mixed-{number}", few, n_good=n_good),
            )
            for number in range(n_pairs)
        ]
    judged = [(file, run.outcome_of.get(file.name, "missing")) for file in files]
    labelled = [(file, outcome) for file, outcome in judged if file.label]
    wrong = [(file.name, file.label, outcome) for file, outcome in labelled if outcome != file.label]
    all_runs = [run, *(each for pair in pairs for each in pair)]
    return Report(
        n_hostile=len(files),
        n_documents=len(run.outcome_of),
        unfinished=sum(each.unfinished for each in all_runs),
        outcomes=dict(collections.Counter(outcome for _, outcome in judged).most_common()),
        labelled=len(labelled),
        right=len(labelled) - len(wrong),
        wrong=wrong[:50],
        parser_restarts=sum(each.parser_restarts for each in all_runs),
        rss_drift_mb=run.rss_drift_mb,
        whole_s=run.took_s,
        good_per_s=[(n_good / alone.took_s, n_good / mixed.took_s) for alone, mixed in pairs],
        good_lost=statistics.median(1 - alone.took_s / mixed.took_s for alone, mixed in pairs),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    outcome_of: dict[str, str]
    unfinished: int
    parser_restarts: int
    rss_drift_mb: float
    took_s: float


def _run(folder: Path, hostile: list[Hostile], *, n_good: int) -> _Run:
    docs = folder / "docs"
    docs.mkdir(parents=True)
    (docs / "first.md").write_text("# First\n\nThe first document starts the parser process.\n")
    settings = load_settings(data=folder / "data", docs=docs, owner="olga", max_file_mb=_MAX_FILE_MB)
    rss: list[float] = []
    parsers: set[int] = set()
    others = set(_parser_pids())  # of other desks in this process
    with open_embedded(settings) as embedded:
        request_docs_sync(settings, embedded.desk)
        _watch(embedded, [], set())
        names = _write(docs, hostile, n_good)
        started = time.monotonic()
        request_docs_sync(settings, embedded.desk)
        _watch(embedded, rss, parsers)
        took_s = time.monotonic() - started
        documents = list(_documents(embedded))
    outcomes = {document.external_id: document.error_code or document.state for document in documents}
    return _Run(
        outcome_of={names.get(id_, id_): outcome for id_, outcome in outcomes.items()},
        unfinished=sum(not document.state.is_terminal for document in documents),
        parser_restarts=max(0, len(parsers - others) - 1),
        rss_drift_mb=max(rss[-5:], default=0.0) - max(rss[: len(rss) // 4], default=0.0),
        took_s=took_s,
    )


def _watch(embedded: EmbeddedDesk, rss: list[float], parsers: set[int]) -> None:
    """Wait until no job is left, noting memory and the process ids of parser processes on the way."""
    while embedded.desk.jobs.unfinished():
        rss.append(_resident_mb())
        parsers.update(_parser_pids())
        time.sleep(0.2)


def _parser_pids() -> list[int]:
    """Process ids of the zygotes that this process has started."""
    pids: list[str] = []
    for children in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended meanwhile
            pids += children.read_text().split()
    found = []
    for pid in pids:
        with suppress(OSError):  # a process that has
            if b"ingest.sandbox_child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


def _write(docs: Path, hostile: list[Hostile], n_good: int) -> dict[str, str]:
    """Hostile files spread evenly between good ones. Returns the hostile files' names by external id."""
    n_all = n_good + len(hostile)
    names = {}
    corpus = sample_corpus()
    for number in range(n_good):
        (docs / f"{number * n_all // n_good:06d}-good.md").write_text(corpus.document(number), "utf-8")
    for number, file in enumerate(hostile):
        path = docs / f"{number * n_all // len(hostile):06d}-hostile-{file.name}"
        path.write_bytes(file.content)
        names[path.name] = file.name
        if file.size_bytes:
            os.truncate(path, file.size_bytes)
    return names


def _documents(embedded: EmbeddedDesk) -> Iterator[Document]:
    olga = Principal(UserId("olga"))
    after = None
    while True:
        page = embedded.desk.corpus.documents(olga, DocumentFilter(), after=after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = (page[-1].title, page[-1].id)


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MIB


if __name__ == "__main__":
    sys.exit(main())
