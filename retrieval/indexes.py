"""The indexes of a desk: the one that answers, one that is being built, and the one to go back to.

An index holds the vectors of one embedder and the term weights of one sparse encoder, and only those two may
ask it. So everything here hands out an index together with its encoders, as one value that never changes.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from retrieval.errors import IndexMismatchError, IndexUnavailableError
from retrieval.ports import Embedder, SparseEncoder, VectorIndex

_log = logging.getLogger(__name__)


class IndexState(StrEnum):
    """`building -> active -> retired`; a retired index can become the active one again."""

    BUILDING = "building"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the sparse leg is set by, as measured on the corpus.

    Attributes:
        average_length: Sparse terms per chunk that BM25 weights are normalised by.
        languages: ISO 639-1 codes of the languages that queries are stemmed for, commonest first.
    """

    average_length: float
    languages: tuple[str, ...] = ("en",)


ASSUMED_CALIBRATION = Calibration(80.0)
"""Until the corpus has been measured."""

_SIGNIFICANT_SHARE = 0.05


def spoken(chunks_by_language: Mapping[str, int]) -> tuple[str, ...]:
    """The languages that at least one chunk in twenty is in, commonest first, and English.

    English is always among them: what no language was told for is stemmed as English, and names of products
    and tools are English in every company.

    >>> spoken({"de": 80, "en": 15, "fr": 4, "und": 1})
    ('de', 'en')
    """
    total = sum(chunks_by_language.values())
    common = [
        language
        for language, count in sorted(chunks_by_language.items(), key=lambda each: (-each[1], each[0]))
        if language != "und" and count >= _SIGNIFICANT_SHARE * total
    ]
    return tuple(dict.fromkeys([*common, "en"]))


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """What the catalogue knows of an index.

    Attributes:
        name: Of its folder or collection.
        fingerprint: Of the embedder, chunker and sparse encoder that it was built by (`fingerprint_of`).
        calibration: What its term weights and queries are made with.
        activated_at: When it last began to answer; None while it is being built.
    """

    name: str
    fingerprint: str
    calibration: Calibration
    state: IndexState
    created_at: datetime
    activated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Encoders:
    """The embedder and the sparse encoder whose output one index holds."""

    embedder: Embedder
    sparse: SparseEncoder


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """One index with its own encoders; whoever holds it never mixes two spaces."""

    record: IndexRecord
    index: VectorIndex
    encoders: Encoders


class IndexRecords(Protocol):
    """The catalogue, as far as it knows indexes. Every method is one transaction."""

    def records(self) -> Sequence[IndexRecord]:
        """All indexes: at most one in each state."""
        ...

    def forget(self, name: str) -> None:
        """Drop the record of an index that does not answer; one that answers is left alone."""
        ...


class IndexBuilds(IndexRecords, Protocol):
    """The catalogue, as far as indexes move through their states. Every method is one transaction."""

    def begin(self, name: str, fingerprint: str, calibration: Calibration) -> None:
        """Record an index that is being built: from this commit on every write has to reach it.

        Raises `ConflictError` while another is being built.
        """
        ...

    def begin_first(self, fingerprint: str, calibration: Calibration) -> None:
        """Record the index that a new catalogue answers from, under a new name; nothing where one answers."""
        ...

    def activate(self, name: str) -> None:
        """Let an index answer from this commit on; the one before becomes the one to go back to.

        What could be gone back to before is forgotten. Raises `ConflictError` when there is no such index.
        """
        ...

    def calibrate(self, name: str, calibration: Calibration) -> None:
        """Record what an index's term weights and queries are made with from now on."""
        ...


def new_index_name() -> str:
    """A name that no index has, of this desk or of another one on the same index server."""
    return f"index-{uuid.uuid4().hex[:12]}"


def record_in(records: IndexRecords, state: IndexState) -> IndexRecord | None:
    """The index in a state, None when there is none."""
    return next((record for record in records.records() if record.state is state), None)


def fingerprint_of(embedder: Embedder, chunker: str, sparse: SparseEncoder) -> str:
    """What an index is stamped with."""
    return "|".join((embedder.fingerprint, chunker, sparse.fingerprint))


def can_encode(encoders: Encoders, fingerprint: str) -> bool:
    """Whether these encoders made what an index of this fingerprint holds.

    The chunker does not count: chunks of another one lie in the same space, and each version of a document
    records how it was cut.
    """
    parts = fingerprint.split("|")
    made_by = (encoders.embedder.fingerprint, encoders.sparse.fingerprint)
    return len(parts) == 3 and (parts[0], parts[2]) == made_by


class _Held:
    """An open index and the number of those who use it now. Guarded by the owner's lock."""

    def __init__(self, index: VectorIndex) -> None:
        self.index = index
        self.n_users = 0
        self.is_dropped = False


class OpenIndexes:
    """The indexes that the catalogue names, each opened by this process when it is first needed.

    Which index answers is read from the catalogue at every use, one small query: a switch that another process
    committed counts from the next request on. Safe to share between threads.
    """

    def __init__(
        self,
        records: IndexRecords,
        *,
        open_index: Callable[[str, int], VectorIndex],
        discard: Callable[[str], None],
        encoders: Sequence[Encoders],
    ) -> None:
        """Open indexes of `records` on demand.

        Args:
            open_index: Opens an index by name and dimension, or makes an empty one.
            discard: Deletes what an index of this name left on disk or on its server.
            encoders: All that are open in this process; the first are those that new indexes are built by.
        """
        self._records = records
        self._open_index = open_index
        self._discard = discard
        self._encoders = tuple(encoders)
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}

    def encoders_of(self, record: IndexRecord) -> Encoders | None:
        """The encoders of an index, None when they are not open in this process."""
        return next((each for each in self._encoders if can_encode(each, record.fingerprint)), None)

    @contextmanager
    def answering(self) -> Iterator[OpenIndex]:
        """The index that answers now, with its encoders; it stays open until the block ends.

        Raises:
            IndexUnavailableError: There is none yet, or it cannot be opened.
            IndexMismatchError: It was built by encoders that this process does not have.
            CatalogueUnavailableError: The catalogue did not say which one it is.
        """
        record = record_in(self._records, IndexState.ACTIVE)
        if record is None:
            raise IndexUnavailableError("there is no index yet")
        with self.opened(record) as opened:
            yield opened

    @contextmanager
    def written(self) -> Iterator[list[OpenIndex]]:
        """Every index that a change has to reach, the one that answers first.

        An index to go back to that this process cannot write any more is given up: it would fall behind, and
        going back to it would bring old text up again.

        Raises:
            IndexUnavailableError, IndexMismatchError: The index that answers, or the one that is being built,
                cannot be written.
        """
        order = (IndexState.ACTIVE, IndexState.BUILDING, IndexState.RETIRED)
        with ExitStack() as stack:
            found = []
            for record in sorted(self._records.records(), key=lambda each: order.index(each.state)):
                try:
                    found.append(stack.enter_context(self.opened(record)))
                except (IndexUnavailableError, IndexMismatchError) as error:
                    if record.state is not IndexState.RETIRED:
                        raise
                    self.give_up(record.name, error)
            yield found

    @contextmanager
    def opened(self, record: IndexRecord) -> Iterator[OpenIndex]:
        """One index, open until the block ends. Raises as `answering`."""
        encoders = self.encoders_of(record)
        if encoders is None:
            raise IndexMismatchError(f"no open embedder and sparse encoder match {record.fingerprint}")
        held = self._take(record.name, encoders.embedder.dimension)
        try:
            yield OpenIndex(record, held.index, encoders)
        finally:
            self._give_back(record.name, held)

    def give_up(self, name: str, reason: Exception) -> None:
        """Drop an index to go back to that cannot be kept up to date."""
        _log.warning("index given up", extra={"index": name, "reason": type(reason).__name__})
        self.drop(name)

    def drop(self, name: str) -> None:
        """Forget an index that does not answer, and delete it once nobody uses it."""
        self._records.forget(name)
        if any(record.name == name for record in self._records.records()):
            return
        with self._lock:
            held = self._held.get(name)
            if held is not None:
                held.is_dropped = True
            is_free = held is None or self._let_go(name, held)
        if is_free:
            self._discard(name)

    def close(self) -> None:
        """Flush and close every index."""
        with self._lock:
            for held in self._held.values():
                held.index.close()
            self._held.clear()

    def optimise(self, *, is_stopped: Callable[[], bool]) -> bool:
        """Call `VectorIndex.optimise` of the index that answers. Raises as `answering`."""
        with self.answering() as opened:
            return opened.index.optimise(is_stopped=is_stopped)

    def flush(self) -> None:
        """Write every open index to disk."""
        with self._lock:
            for held in self._held.values():
                held.index.flush()

    def _take(self, name: str, dimension: int) -> _Held:
        with self._lock:
            held = self._held.get(name)
            if held is None:
                held = self._held[name] = _Held(self._open_index(name, dimension))
            held.n_users += 1
            return held

    def _give_back(self, name: str, held: _Held) -> None:
        with self._lock:
            held.n_users -= 1
            is_free = held.is_dropped and self._let_go(name, held)
        if is_free:
            self._discard(name)

    def _let_go(self, name: str, held: _Held) -> bool:
        """Close a dropped index that nobody uses any more; says whether it is closed."""
        if held.n_users:
            return False
        if self._held.get(name) is held:
            del self._held[name]
            held.index.close()
        return True
