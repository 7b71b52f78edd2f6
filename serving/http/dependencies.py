"""What routes are handed: the desk, and who asks with which scope."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import Depends, Request

from retrieval.access import Principal
from serving.answer import Answered, AnswerEvent
from serving.desk import Desk
from serving.http.errors import request_id_of
from serving.http.identity import Requires
from serving.http.limits import counter_of
from serving.http.metrics import Metrics
from serving.scopes import Scope


async def _desk(request: Request) -> Desk:
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


async def _request_id(request: Request) -> str:
    return request_id_of(request)


class _Counted:
    """Counts the answers that pass in the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, events: Iterator[AnswerEvent]) -> Iterator[AnswerEvent]:
        """The same events."""
        for event in events:
            if isinstance(event, Answered):
                self._metrics.observe_answer(event.answer)
            yield event


async def _counted(request: Request) -> _Counted:
    return _Counted(request.app.state.metrics)


TheDesk = Annotated[Desk, Depends(_desk)]
AnswerMetrics = Annotated[_Counted, Depends(_counted)]
RequestId = Annotated[str, Depends(_request_id)]

Anybody = Annotated[Principal, Depends(Requires())]
Searcher = Annotated[Principal, Depends(Requires(Scope.SEARCH))]
Asker = Annotated[Principal, Depends(Requires(Scope.ANSWERS))]
Reader = Annotated[Principal, Depends(Requires(Scope.DOCUMENTS_READ))]
Writer = Annotated[Principal, Depends(Requires(Scope.DOCUMENTS_WRITE))]
SourceKeeper = Annotated[Principal, Depends(Requires(Scope.SOURCES_WRITE))]
AccessExplainer = Annotated[Principal, Depends(Requires(Scope.ACCESS_EXPLAIN))]
Previewer = Annotated[Principal, Depends(Requires(Scope.SEARCH, Scope.ACCESS_EXPLAIN))]
KeyHolder = Annotated[Principal, Depends(Requires(Scope.KEYS))]
DirectoryKeeper = Annotated[Principal, Depends(Requires(Scope.DIRECTORY))]
Administrator = Annotated[Principal, Depends(Requires(Scope.ADMIN))]
MetricsReader = Annotated[Principal, Depends(Requires(Scope.METRICS_READ))]
Auditor = Annotated[Principal, Depends(Requires(Scope.AUDIT_READ))]


async def _answer_slot(request: Request, caller: Asker) -> AsyncIterator[None]:
    """Hold a slot for an answer until its last word is sent.

    Raises:
        RateLimitedError: The caller has too many answers under way.
        BusyError: So have all together.
    """
    with counter_of(request).answers.slot(caller.user_id):
        yield


HoldsAnswerSlot = Depends(_answer_slot)
"""Dependency of every route that answers questions."""
