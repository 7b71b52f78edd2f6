"""Search, answers, and what readers think of them."""

from __future__ import annotations

import time

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from retrieval.access import UserId
from retrieval.adapters.sql.feedback import SqlFeedback
from retrieval.query import Query
from retrieval.wiring import utc_now
from serving.answer import Question
from serving.answering import whole
from serving.conversations import Conversations
from serving.http import schemas
from serving.http.dependencies import (
    AnswerMetrics,
    Asker,
    HoldsAnswerSlot,
    Previewer,
    RequestId,
    Searcher,
    TheDesk,
)
from serving.http.idempotency import IdempotentRoute
from serving.http.rendering import answer_out, filters_from, preview_out, search_out
from serving.http.streaming import EVENT_STREAM, answer_stream, respond
from serving.previewing import Previews

router = APIRouter(prefix="/api/v1", tags=["asking"])
writes = APIRouter(prefix="/api/v1", tags=["asking"], route_class=IdempotentRoute)


@router.post("/search")
def search(
    body: schemas.SearchIn, desk: TheDesk, caller: Searcher, request_id: RequestId
) -> schemas.SearchOut:
    """Find passages that the caller may read."""
    began = time.perf_counter()
    result = desk.search.search(_query(body), caller)
    took_ms = (time.perf_counter() - began) * 1000
    return search_out(result, took_ms=took_ms, request_id=request_id, explain=body.explain)


@router.post("/search/preview")
def preview_search(
    body: schemas.PreviewIn, desk: TheDesk, caller: Previewer, request_id: RequestId
) -> schemas.PreviewOut:
    """Find what a user would find among the documents that the caller owns, as that user's search does it.

    Administrators with the scope `preview` see everything that the user would find. Put on record before the
    reply: who previewed as whom, and what was seen.
    """
    began = time.perf_counter()
    preview = Previews(desk).search(caller, UserId(body.user_id), _query(body), request_id=request_id)
    took_ms = (time.perf_counter() - began) * 1000
    return preview_out(preview, took_ms=took_ms, request_id=request_id, explain=body.explain)


def _query(body: schemas.SearchIn) -> Query:
    return Query(body.query, body.limit, filters_from(body.filters), body.group_by_document, body.mode)


@router.post(
    "/answers",
    response_model=schemas.AnswerOut,
    responses=EVENT_STREAM,
    dependencies=[HoldsAnswerSlot],
)
def answers(
    body: schemas.AnswerIn, desk: TheDesk, counted: AnswerMetrics, caller: Asker, request_id: RequestId
) -> schemas.AnswerOut | StreamingResponse:
    """Answer a question from what the caller may read; with `stream`, as server-sent events.

    The events are `references`, `delta`, `withdrawn` (clear the text shown so far), `citations`, `done`
    (the whole reply) and `error` (a problem).
    """
    conversation_id, history = Conversations(desk).begin_or_continue(
        caller, body.conversation_id, body.question
    )
    question = Question(
        text=body.question,
        principal=caller,
        filters=filters_from(body.filters),
        history=history,
        effort=body.reasoning_effort,
        mode=body.mode,
        request_id=request_id,
    )
    events = counted(desk.answering.ask(question))
    if body.stream:
        return respond(answer_stream(events, request_id=request_id, conversation_id=conversation_id))
    return answer_out(whole(events), request_id=request_id, conversation_id=conversation_id)


@writes.post("/feedback", status_code=204)
def feedback(body: schemas.FeedbackIn, desk: TheDesk, caller: Asker) -> Response:
    """Say what one thinks of an answer."""
    SqlFeedback(desk.database, utc_now).add(
        request_id=body.request_id, user_id=caller.user_id, rating=body.rating, comment=body.comment
    )
    return Response(status_code=204)
