"""What may enter a prompt: the one gate between search and everything that answers from its hits.

A `Context`, and so a prompt, is made of `Promptable` hits. They are made here and nowhere else (a test looks for
that), so a new way to an answer cannot go round this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.access import Principal, permits
from retrieval.labels import may_be_prompted
from retrieval.ports import CorpusReader
from retrieval.query import Hit
from serving.answer import Promptable


@dataclass(frozen=True, slots=True)
class Admitted:
    """Hits that may enter a prompt, in order, and how many readable ones a label keeps out of it."""

    hits: tuple[Promptable, ...]
    n_withheld: int


def admit(hits: Sequence[Hit], principal: Principal, corpus: CorpusReader) -> Admitted:
    """Those of the hits that may enter a prompt now.

    Raises:
        CatalogueUnavailableError: The catalogue did not answer; nothing may enter a prompt then.

    Access:
        Access lists and labels are read from the catalogue here, whatever the hits say of them: what was
        revoked, deleted, has expired or was labelled before this is left out. Only what the principal may read is
        counted as withheld.
    """
    passages = corpus.passages(hit.passage.chunk_id for hit in hits)
    admitted: list[Promptable] = []
    n_withheld = 0
    for hit in hits:
        passage = passages.get(hit.passage.chunk_id)
        if passage is None or not permits(passage.acl, principal):
            continue
        if may_be_prompted(passage.labels):
            admitted.append(Promptable(hit))
        else:
            n_withheld += 1
    return Admitted(tuple(admitted), n_withheld)
