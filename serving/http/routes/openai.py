"""OpenAI-compatible routes: any chat client can use the desk as a model.

Same caller, same permissions, same checked citations, same audit record as /api/v1/answers. The last `user`
message is the question, `user` messages before it are its history. Messages of other roles are accepted and
ignored: nobody but the desk instructs the model, and an answer of before holds text of documents that may have
been revoked or labelled since.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from retrieval.access import Principal
from retrieval.errors import InvalidQueryError
from serving.answer import Question, ReasoningEffort, Turn
from serving.answering import whole
from serving.http import schemas
from serving.http.dependencies import AnswerMetrics, Asker, HoldsAnswerSlot, RequestId, TheDesk
from serving.http.errors import ModelNotFoundError
from serving.http.openai_replies import MODEL_ID, completion, completion_stream, model_object
from serving.http.streaming import EVENT_STREAM, respond

router = APIRouter(prefix="/v1", tags=["openai"])

_MAX_TURNS = 10


@router.get("/models")
def list_models(caller: Asker) -> dict[str, object]:  # noqa: ARG001  # asks for the scope
    """The one model there is."""
    return {"object": "list", "data": [model_object()]}


@router.get("/models/{model}")
def get_model(model: str, caller: Asker) -> dict[str, object]:  # noqa: ARG001  # asks for the scope
    """The one model there is."""
    _check_model(model)
    return model_object()


@router.post("/chat/completions", response_model=None, responses=EVENT_STREAM, dependencies=[HoldsAnswerSlot])
def complete_chat(
    body: schemas.ChatIn,
    request: Request,
    desk: TheDesk,
    counted: AnswerMetrics,
    caller: Asker,
    request_id: RequestId,
) -> JSONResponse | StreamingResponse:
    """Answer the last user message from what the caller may read, with citations as annotations."""
    _check_model(body.model)
    question = _question(body, caller, request_id)
    base = str(request.base_url).rstrip("/")
    created = int(time.time())
    events = counted(desk.answering.ask(question))
    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        pieces: Iterator[str] = completion_stream(
            events, request_id, created, base=base, with_usage=with_usage
        )
        return respond(pieces)
    return JSONResponse(completion(whole(events), request_id, created, base=base))


def _question(body: schemas.ChatIn, caller: Principal, request_id: str) -> Question:
    asked = [message for message in body.messages if message.role == "user"]
    if not asked or not asked[-1].text.strip():
        raise InvalidQueryError("there is no user message with text")
    history = tuple(_turn(message) for message in asked[:-1] if message.text.strip())
    return Question(
        text=_clean(asked[-1].text),
        principal=caller,
        history=history[-_MAX_TURNS:],
        effort=_effort(body.reasoning_effort),
        request_id=request_id,
        channel="openai",
    )


def _turn(message: schemas.ChatMessage) -> Turn:
    return Turn("user", _clean(message.text)[: schemas.MAX_TEXT_CHARS])


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


def _effort(stated: str | None) -> ReasoningEffort:
    """The nearest of ours: other models have levels that gpt-oss has not."""
    levels = {"medium": ReasoningEffort.MEDIUM, "high": ReasoningEffort.HIGH, "xhigh": ReasoningEffort.HIGH}
    return levels.get(stated or "", ReasoningEffort.LOW)


def _check_model(model: str) -> None:
    if model != MODEL_ID:
        raise ModelNotFoundError("there is no such model")
