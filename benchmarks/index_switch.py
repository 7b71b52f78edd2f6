"""Switches indexes forth and back under search, and tells errors, mixed answers and times.

usage: python -m benchmarks.index_switch [--switches N] [--rate PER_S] [--state FOLDER]

The desk is the embedded one over the sample handbook; its model is changed to a rotated copy of itself
(`tests/rotated.py`), whose vectors are all others while the ranking stays the same. Each round builds an index by
the rotated model and switches to it, then goes back to the plain one. An answer that a question of one space got
from an index of the other would be noise, so every answer is compared with the exact ones of both pure indexes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from retrieval.access import Principal, PrincipalId, UserId
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.errors import RefdeskError
from retrieval.indexes import IndexState, record_in
from retrieval.jobs import JobState
from retrieval.query import Query, SearchMode
from retrieval.search import Search, SearchSettings
from retrieval.settings import load_settings
from retrieval.wiring import utc_now
from serving.embedded import EmbeddedDesk, open_embedded, request_docs_sync
from serving.indexes import Indexes
from tests.rotated import opening_rotated

SAMPLE = Path(__file__).parent.parent / "sample"
OWNER = Principal(UserId("local"), frozenset({PrincipalId("group:everyone")}), frozenset({"admin"}))
QUESTIONS = (
    "How many days of annual leave do employees get?",
    "What may a hotel night cost?",
    "Who approves a business trip?",
    "How is a laptop returned?",
    "What is the deadline for expense claims?",
    "Who do I call when the server room is too warm?",
    "How long is the probation period?",
    "What is the mileage allowance?",
)
_LIMIT = 10
_TOLERATED = 2e-3
"""Scores differ by this much at most between two indexes of the same texts: fusion widens rounding."""

Answer = tuple[tuple[str, float], ...]
"""Chunk ids and scores, best first."""


@dataclass(frozen=True)
class SwitchReport:
    """Times in milliseconds; `rollback_ms` ends when a search was answered by the index gone back to."""

    switches: int
    rollbacks: int
    searches: int
    errors: dict[str, int]
    mixed: int
    build_ms_median: float
    rollback_ms_median: float
    rollback_ms_max: float
    search_ms_median: float
    search_ms_p95: float
    record_read_ms_median: float
    seconds: float


@dataclass
class Load:
    """Searches at a steady rate from a few threads, with what came of them."""

    desk: EmbeddedDesk
    expected: Mapping[str, Sequence[Answer]]
    rate: float

    def __post_init__(self) -> None:
        self.stopped = threading.Event()
        self.times_ms: list[float] = []
        self.errors: list[str] = []
        self.mixed: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(4)
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Search until the block ends."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self.stopped.set()
            for thread in self._threads:
                thread.join()

    def _run(self, number: int) -> None:
        pause, due = len(self._threads) / self.rate, time.monotonic() + number / self.rate
        asked = number
        while not self.stopped.wait(max(0.0, due - time.monotonic())):
            due += pause
            self._ask(QUESTIONS[asked % len(QUESTIONS)])
            asked += 1

    def _ask(self, question: str) -> None:
        began = time.perf_counter()
        try:
            found = answer_to(self.desk.desk.search, question)
        except RefdeskError as error:
            self.errors.append(error.code)
            return
        self.times_ms.append((time.perf_counter() - began) * 1000)
        if not any(_is_alike(found, pure) for pure in self.expected[question]):
            self.mixed.append(question)


def answer_to(search: Search, question: str) -> Answer:
    """What a search by the dense leg finds: the leg that a mixed space would spoil."""
    query = Query(question, limit=_LIMIT, group_by_document=False, mode=SearchMode.DENSE)
    return tuple((hit.passage.chunk_id, hit.score) for hit in search.search(query, OWNER).hits)


def pure_answers(embedded: EmbeddedDesk) -> dict[str, list[Answer]]:
    """The exact answer of every index on record to each question, asked by its own model."""
    answers: dict[str, list[Answer]] = {question: [] for question in QUESTIONS}
    for record in SqlIndexBuilds(embedded.desk.database, utc_now).records():
        search = Search(
            corpus=embedded.desk.corpus,
            answering=partial(embedded.desk.indexes.opened, record),
            settings=SearchSettings(),
        )
        for question in QUESTIONS:
            answers[question].append(answer_to(search, question))
    return answers


def mixed_answer(embedded: EmbeddedDesk, question: str) -> Answer:
    """What a question of the plain space finds in the rotated index: what must never be seen."""
    from retrieval.indexes import OpenIndex

    builds = SqlIndexBuilds(embedded.desk.database, utc_now)
    active, retired = (record_in(builds, state) for state in (IndexState.ACTIVE, IndexState.RETIRED))
    assert active is not None
    assert retired is not None

    @contextmanager
    def half_of_each() -> Iterator[OpenIndex]:
        with embedded.desk.indexes.opened(active) as one, embedded.desk.indexes.opened(retired) as other:
            yield OpenIndex(one.record, one.index, other.encoders)

    reader = embedded.desk.corpus
    return answer_to(Search(corpus=reader, answering=half_of_each, settings=SearchSettings()), question)


def is_expected(answer: Answer, pure: Sequence[Answer]) -> bool:
    """Whether an answer is that of one of the pure indexes."""
    return any(_is_alike(answer, each) for each in pure)


def switch(
    embedded: EmbeddedDesk, *, switches: int, rate: float, say: Callable[[str], None] = lambda _: None
) -> SwitchReport:
    """Build and switch, then go back, as often as asked, while searches go on; says how far it is."""
    build(embedded)
    expected = pure_answers(embedded)
    go_back(embedded)
    load = Load(embedded, expected, rate)
    builds_ms, rollbacks_ms = [], []
    began = time.monotonic()
    with load.running():
        for done in range(1, switches + 1):
            builds_ms.append(build(embedded))
            rollbacks_ms.append(go_back(embedded))
            say(
                f"{done}/{switches} switched and back, {len(load.times_ms)} searches, {len(load.errors)} errors, "
                f"{len(load.mixed)} mixed, going back took at most {max(rollbacks_ms):.0f} ms"
            )
    return SwitchReport(
        switches=switches,
        rollbacks=len(rollbacks_ms),
        searches=len(load.times_ms) + len(load.errors),
        errors={code: load.errors.count(code) for code in set(load.errors)},
        mixed=len(load.mixed),
        build_ms_median=_median(builds_ms),
        rollback_ms_median=_median(rollbacks_ms),
        rollback_ms_max=round(max(rollbacks_ms), 1),
        search_ms_median=_median(load.times_ms),
        search_ms_p95=round(float(np.percentile(load.times_ms, 95)), 1),
        record_read_ms_median=_record_read_ms(embedded),
        seconds=round(time.monotonic() - began, 1),
    )


def build(embedded: EmbeddedDesk) -> float:
    """Build an index by the model in use and switch to it; returns the milliseconds it took."""
    began = time.perf_counter()
    job = Indexes(embedded.desk).rebuild(OWNER)
    while not (job := embedded.desk.jobs.job(job.id)).state.is_finished:
        time.sleep(0.01)
    if job.state is not JobState.DONE:
        raise SystemExit(f"the build failed: {job.error_code} {job.error_message}")
    return (time.perf_counter() - began) * 1000


def go_back(embedded: EmbeddedDesk) -> float:
    """Go back to the retired index; returns the milliseconds until it has answered a search."""
    retired = record_in(SqlIndexBuilds(embedded.desk.database, utc_now), IndexState.RETIRED)
    if retired is None:
        raise SystemExit("there is no index to go back to")
    began = time.perf_counter()
    Indexes(embedded.desk).activate(OWNER, retired.name, request_id="benchmark")
    answer_to(embedded.desk.search, QUESTIONS[0])
    spent_ms = (time.perf_counter() - began) * 1000
    with embedded.desk.indexes.answering() as opened:
        if opened.record.name != retired.name:
            raise SystemExit("the index gone back to does not answer")
    return spent_ms


@contextmanager
def open_changed_desk(state: Path) -> Iterator[EmbeddedDesk]:
    """The desk in a folder, indexed by the plain model, whose model is the rotated one now."""
    with open_embedded(load_settings(data=state), opener=opening_rotated()) as embedded:
        yield embedded


def _index_sample(state: Path) -> None:
    settings = load_settings(data=state, docs=SAMPLE / "handbook", directory=SAMPLE / "directory.toml")
    with open_embedded(settings) as embedded:
        request_docs_sync(settings, embedded.desk)
        while embedded.desk.jobs.unfinished():
            time.sleep(0.2)


def _is_alike(found: Answer, pure: Answer) -> bool:
    """Equal scores place by place, and the same passages but for ties with the last place."""
    if len(found) != len(pure):
        return False
    if any(abs(one[1] - other[1]) > _TOLERATED for one, other in zip(found, pure, strict=True)):
        return False
    lowest = pure[-1][1] + _TOLERATED if pure else 0.0
    return {id_ for id_, score in found if score > lowest} <= {id_ for id_, _ in pure}


def _record_read_ms(embedded: EmbeddedDesk) -> float:
    builds, spent = SqlIndexBuilds(embedded.desk.database, utc_now), []
    for _ in range(300):
        began = time.perf_counter()
        builds.records()
        spent.append((time.perf_counter() - began) * 1000)
    return round(float(np.median(spent)), 3)


def _median(values: Sequence[float]) -> float:
    return round(float(np.median(values)), 1)


def main() -> None:
    """Run it and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--switches", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument(
        "--state", type=Path, help="State folder of an indexed desk, copied; else one is made."
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        if given.state:
            shutil.copytree(given.state, state)
        else:
            _index_sample(state)
        with open_changed_desk(state) as embedded:
            report = switch(embedded, switches=given.switches, rate=given.rate, say=_say)
            print(json.dumps(asdict(report)))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
