"""Building a second index beside the one that answers, and switching to it.

From the moment the new index is on record every write reaches it as well (`Indexer`), so that filling it from
the catalogue is all that is left to do. Killed anywhere, the next run goes on where this one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ingest.indexing import Indexer
from ingest.ports import DocumentStore
from retrieval.corpus import ChunkId
from retrieval.errors import IndexUnavailableError
from retrieval.indexes import (
    ASSUMED_CALIBRATION,
    IndexBuilds,
    IndexRecord,
    IndexState,
    OpenIndex,
    OpenIndexes,
    new_index_name,
    record_in,
)

_BATCH = 128
_ROUNDS = 5
"""Looks at the catalogue until nothing is missing; after the first one only work of killed workers is found."""

_SAMPLE = 32
_ALIKE = 0.999
"""Least dot product of a stored vector and the same text embedded anew: kernels differ in the last digits."""


class BuildStore(Protocol):
    """The catalogue, as far as only a build asks it. Every method is one transaction."""

    def unknown(self, chunk_ids: Collection[ChunkId]) -> set[ChunkId]:
        """Those ids that are no chunk at all any more, neither live nor staged nor about to go."""
        ...

    def queue_rereading(self, recipe: str, *, requested_by: str) -> int:
        """Queue every live document that was parsed or cut by another recipe; returns their number."""
        ...


@dataclass(frozen=True, slots=True)
class Recipes:
    """What is built now.

    Attributes:
        index: Fingerprint of embedder, chunker and sparse encoder.
        version: Fingerprint of parsers and chunker.
    """

    index: str
    version: str


@dataclass(frozen=True, slots=True)
class Build:
    """What a build came to: the index that answers now, its points, and documents that are read anew."""

    index: str
    chunks: int
    rereading: int


class IndexBuilder:
    """Builds indexes. One build at a time: the catalogue refuses a second one."""

    def __init__(
        self,
        *,
        store: DocumentStore,
        build_store: BuildStore,
        indexer: Indexer,
        indexes: OpenIndexes,
        builds: IndexBuilds,
        recipes: Recipes,
    ) -> None:
        """Build for the documents in `store`, by what `recipes` says."""
        self._store = store
        self._build_store = build_store
        self._indexer = indexer
        self._indexes = indexes
        self._builds = builds
        self._recipes = recipes

    def build(self, *, requested_by: str, heartbeat: Callable[[int, int], bool]) -> Build | None:
        """Build an index by the encoders in use now, and let it answer.

        Readers see the index before until one commit, then the new one. The index before is kept to go back
        to, where its encoders are open in this process; else it is dropped. Documents that were parsed or cut
        by another recipe are queued to be read anew, one by one: they keep their old chunks until then.

        Args:
            requested_by: User id for the record.
            heartbeat: Renews the lease with progress in chunks; False when the lease is lost.

        Returns:
            What came of it, or None when the lease was lost: the next run goes on from here.

        Raises:
            IndexUnavailableError: The new index does not hold what the catalogue does; it is dropped.
            EmbedderUnavailableError, CatalogueUnavailableError: A part did not answer; a retry goes on.
        """
        rereading = self._build_store.queue_rereading(self._recipes.version, requested_by=requested_by)
        record = self._begun()
        with self._indexes.opened(record) as opened:
            if record.state is IndexState.BUILDING:
                if not self._fill(opened, heartbeat):
                    return None
                try:
                    self._check_sample(opened)
                except IndexUnavailableError:
                    self._indexes.drop(record.name)
                    raise
            opened.index.flush()
            n_chunks = opened.index.count()
            if not heartbeat(n_chunks, n_chunks):
                return None
        self._switch(record)
        return Build(record.name, n_chunks, rereading)

    def abandon(self) -> None:
        """Drop an index that is being built, since nobody goes on building it."""
        record = record_in(self._builds, IndexState.BUILDING)
        if record is not None:
            self._indexes.drop(record.name)

    def _begun(self) -> IndexRecord:
        """The record of the index to fill: one that a killed build left behind, else a new one."""
        unfinished = record_in(self._builds, IndexState.BUILDING)
        if unfinished is not None and unfinished.fingerprint == self._recipes.index:
            return unfinished
        self.abandon()
        name = new_index_name()
        self._builds.begin(name, self._recipes.index, self._store.calibration() or ASSUMED_CALIBRATION)
        return next(record for record in self._builds.records() if record.name == name)

    def _fill(self, opened: OpenIndex, heartbeat: Callable[[int, int], bool]) -> bool:
        """Write what is missing until nothing is; False when the lease is lost."""
        for _ in range(_ROUNDS):
            present = set(opened.index.chunk_ids())
            wanted = self._store.live_chunk_ids()
            missing = sorted(wanted - present)
            if not missing:
                opened.index.delete(self._build_store.unknown(present - wanted))
                return True
            for done in range(0, len(missing), _BATCH):
                if not heartbeat(len(wanted) - len(missing) + done, len(wanted)):
                    return False
                self._indexer.fill(opened, missing[done : done + _BATCH])
        raise IndexUnavailableError("the new index does not hold what the catalogue does")

    def _check_sample(self, opened: OpenIndex) -> None:
        """Embed some texts anew, past every cache, and compare with what the index holds."""
        sample = _spread(sorted(opened.index.chunk_ids()), _SAMPLE)
        chunks = self._store.live_chunks(sample)
        if not chunks:
            return
        stored = opened.index.dense_of([chunk.chunk_id for chunk in chunks])
        fresh = opened.encoders.embedder.embed_texts([chunk.text for chunk in chunks])
        for chunk, vector in zip(chunks, fresh, strict=True):
            held = stored.get(chunk.chunk_id)
            if held is not None and float(np.dot(held, vector)) < _ALIKE:
                raise IndexUnavailableError("the new index holds vectors that its embedder did not make")

    def _switch(self, record: IndexRecord) -> None:
        forgotten = record_in(self._builds, IndexState.RETIRED)
        self._builds.activate(record.name)
        if forgotten is not None and forgotten.name != record.name:
            self._indexes.drop(forgotten.name)
        before = record_in(self._builds, IndexState.RETIRED)
        if before is not None and self._indexes.encoders_of(before) is None:
            self._indexes.drop(before.name)


def _spread(items: Sequence[ChunkId], count: int) -> list[ChunkId]:
    """At most `count` items, evenly spread."""
    return list(items[:: max(1, len(items) // count)][:count])
