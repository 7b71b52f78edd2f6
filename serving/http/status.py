"""Where the desk stands: for callers, for probes and for Prometheus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from retrieval.access import Principal, UserId
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.corpus import AclAge, Source
from retrieval.errors import RefdeskError
from retrieval.query import Query
from retrieval.wiring import utc_now
from serving.desk import Desk
from serving.documents import Documents
from serving.http import schemas
from serving.http.rendering import explanation_out
from serving.jobs import Jobs
from serving.sources import Sources

_MAX_JOBS_COUNTED = 1000
_MAX_LOOKED_AT = 200
_MAX_TROUBLES = 20
_PROBE_KEPT_S = 5.0
"""Probes are open to everybody, so results are kept for a moment: nobody can wear the desk out with them."""

_PROBER = Principal(UserId(""))
"""Nobody: reads nothing but what everyone may."""


def status_of_desk(desk: Desk, principal: Principal) -> schemas.StatusOut:
    """The desk as one principal may see it."""
    sources = Sources(desk)
    unknown = sources.unknown_groups(principal, [each.source for each in sources.visible(principal)])
    return schemas.StatusOut(
        version=refdesk_version(),
        documents_by_state=desk.corpus.count_by_state(principal, DocumentFilter()),
        passages=desk.corpus.passage_count(principal),
        unfinished_jobs=len(Jobs(desk).unfinished(principal, limit=_MAX_JOBS_COUNTED)),
        generator=desk.settings.vllm_model if desk.settings.vllm_url else "extractive",
        identity=desk.settings.identity,
        troubles=[*_sources_in_trouble(desk, principal), *_documents_in_trouble(desk, principal)],
        unknown_groups=sorted({group for groups in unknown.values() for group in groups}),
    )


def _sources_in_trouble(desk: Desk, principal: Principal) -> list[schemas.TroubleOut]:
    sources = Sources(desk)
    visible = [summary.source for summary in sources.visible(principal)]
    explanations = sources.explanations(principal, visible)
    return [
        schemas.TroubleOut(
            source_id=source.id,
            document_id=None,
            name=source.name,
            state=_trouble_with(source),
            explanation=explanation_out(explanations[source.id]),
        )
        for source in visible
        if source.id in explanations and explanations[source.id].is_trouble
    ]


def _trouble_with(source: Source) -> str:
    """What is wrong with a source that is not well, the worst first."""
    age = source.acl_state(utc_now())
    if age is not AclAge.CURRENT:
        return f"permissions_{age}"
    paused = "paused" if source.paused_at else ""
    return source.error_code or paused or source.acl_error_code or "overdue"


def _documents_in_trouble(desk: Desk, principal: Principal) -> list[schemas.TroubleOut]:
    documents = desk.corpus.not_live(principal, limit=_MAX_LOOKED_AT)
    explanations = Documents(desk).explanations(documents)
    troubled = [each for each in documents if each.id in explanations and explanations[each.id].is_trouble]
    return [
        schemas.TroubleOut(
            source_id=document.source_id,
            document_id=document.id,
            name=document.title,
            state=document.state,
            explanation=explanation_out(explanations[document.id]),
        )
        for document in troubled[:_MAX_TROUBLES]
    ]


def refdesk_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("refdesk")
    except PackageNotFoundError:
        return "0+source"


class Readiness:
    """Whether each part of a desk works, by using it. Tells error codes, never addresses or messages."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.monotonic) -> None:
        """Probe this desk; `clock` gives monotonic seconds."""
        self._desk = desk
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._probed_at = -_PROBE_KEPT_S

    def parts(self) -> dict[str, str]:
        """`ok` or an error code by part: `catalogue`, `search` (embedder and index), `generator`."""
        with self._lock:
            if self._clock() - self._probed_at >= _PROBE_KEPT_S:
                self._known = self._probe()
                self._probed_at = self._clock()
            return dict(self._known)

    def _probe(self) -> dict[str, str]:
        corpus, search = self._desk.corpus, self._desk.search
        return {
            "catalogue": _outcome(lambda: corpus.count_by_state(_PROBER, DocumentFilter())),
            "search": _outcome(lambda: search.search(Query("ready", limit=1), _PROBER)),
            "generator": _outcome(self._probe_model),
        }

    def _probe_model(self) -> None:
        """A token came back; a desk without a model has nothing to ask."""
        self._desk.answering.probe_model(timeout_s=5.0)


def is_ready(parts: dict[str, str]) -> bool:
    """Whether the desk can answer; without its model it still does, with extracts."""
    return parts["catalogue"] == "ok" and parts["search"] == "ok"


def _outcome(probe: Callable[[], object]) -> str:
    try:
        probe()
    except RefdeskError as error:
        return error.code
    return "ok"
