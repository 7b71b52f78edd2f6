"""Error -> status and reply: RFC 9457 problem details, and OpenAI's error shape on its routes.

One table maps every stable code to a status; a test walks all error classes and fails when one is missing.
Errors themselves know nothing of HTTP.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from retrieval.errors import IdentityTakenError, NotFoundError, RefdeskError, TakenError
from serving.errors import RateLimitedError, ScimRequestError

_log = logging.getLogger(__name__)

PROBLEM_TYPE = "application/problem+json"

OPENAI_PREFIX = "/v1/"
SCIM_PREFIX = "/scim/"
SCIM_TYPE = "application/scim+json"

_STATUS_BY_CODE: dict[str, HTTPStatus] = {
    # of requests
    "bad_request": HTTPStatus.BAD_REQUEST,
    "invalid_request": HTTPStatus.UNPROCESSABLE_ENTITY,
    "invalid_query": HTTPStatus.UNPROCESSABLE_ENTITY,
    "scim_request": HTTPStatus.BAD_REQUEST,
    "unauthenticated": HTTPStatus.UNAUTHORIZED,
    "not_permitted": HTTPStatus.FORBIDDEN,
    "parts_only": HTTPStatus.FORBIDDEN,
    "unknown_user": HTTPStatus.FORBIDDEN,
    "foreign_origin": HTTPStatus.FORBIDDEN,
    "unexpected_host": HTTPStatus.MISDIRECTED_REQUEST,
    "not_found": HTTPStatus.NOT_FOUND,
    "route_not_found": HTTPStatus.NOT_FOUND,
    "model_not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "body_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unsupported_media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "conflict": HTTPStatus.CONFLICT,
    "permissions_outdated": HTTPStatus.CONFLICT,
    "idempotency_conflict": HTTPStatus.CONFLICT,
    "body_timeout": HTTPStatus.REQUEST_TIMEOUT,
    "groups_too_deep": HTTPStatus.CONFLICT,
    "identity_taken": HTTPStatus.CONFLICT,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    # of parts of the desk
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "request_timeout": HTTPStatus.GATEWAY_TIMEOUT,
    "index_mismatch": HTTPStatus.SERVICE_UNAVAILABLE,
    "indexes_changed": HTTPStatus.SERVICE_UNAVAILABLE,
    "index_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "catalogue_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "identity_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "embedder_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "reranker_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "audit_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "already_running": HTTPStatus.CONFLICT,
    "lease_lost": HTTPStatus.CONFLICT,
    "worker_lost": HTTPStatus.SERVICE_UNAVAILABLE,
    "storage_full": HTTPStatus.INSUFFICIENT_STORAGE,
    "invalid_settings": HTTPStatus.INTERNAL_SERVER_ERROR,
    "generator_failed": HTTPStatus.BAD_GATEWAY,
    "generator_unavailable": HTTPStatus.BAD_GATEWAY,
    "generator_timeout": HTTPStatus.GATEWAY_TIMEOUT,
    "generator_refused": HTTPStatus.BAD_GATEWAY,
    "generator_malformed": HTTPStatus.BAD_GATEWAY,
    "generator_unsupported": HTTPStatus.BAD_GATEWAY,
    "token_budget_spent": HTTPStatus.BAD_GATEWAY,
    # of documents and sources: shown on documents and jobs, rarely the status of a reply
    "source_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "invalid_source": HTTPStatus.UNPROCESSABLE_ENTITY,
    "listing_shrank": HTTPStatus.CONFLICT,
    "fetch_failed": HTTPStatus.BAD_GATEWAY,
    "unsupported_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "empty_file": HTTPStatus.UNPROCESSABLE_ENTITY,
    "no_text": HTTPStatus.UNPROCESSABLE_ENTITY,
    "encrypted": HTTPStatus.UNPROCESSABLE_ENTITY,
    "corrupt": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "expansion_limit": HTTPStatus.UNPROCESSABLE_ENTITY,
    "parser_timeout": HTTPStatus.UNPROCESSABLE_ENTITY,
    "parser_memory": HTTPStatus.UNPROCESSABLE_ENTITY,
    "parser_crashed": HTTPStatus.UNPROCESSABLE_ENTITY,
    "parser_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "cancelled": HTTPStatus.CONFLICT,
}

_FROM_FRAMEWORK = {
    400: ("bad_request", "the request cannot be understood", "Correct the request and send it again."),
    404: ("route_not_found", "there is no such route", "GET /api/v1/openapi.json lists the routes."),
    405: ("method_not_allowed", "the route does not take this method", "Use a method that Allow names."),
    408: ("body_timeout", "the request's body did not arrive in time", "Send the body without pauses."),
    413: ("body_too_large", "the request body is too large", "Send less, or raise REFDESK_MAX_BODY_MB."),
    415: ("unsupported_media_type", "the body's media type is not understood", "Send application/json."),
}

_HIDDEN_OR_ABSENT = "there is nothing here that you may see"
"""Said for everything that is not found: naming the id would tell hidden from absent apart."""


class RequestError(RefdeskError):
    """A request that the HTTP layer itself refuses."""


class ForeignOriginError(RequestError):
    """A browser sent a change on behalf of another site."""

    code = "foreign_origin"
    hint = "Open the desk's own page, or call the API outside a browser."


class UnexpectedHostError(RequestError):
    """The Host header names something else than this machine, as in a DNS rebinding attack."""

    code = "unexpected_host"
    hint = "Use http://127.0.0.1 or http://localhost; to serve others, see docs/identity.md."


class ModelNotFoundError(RequestError):
    """An OpenAI-compatible request names a model that the desk does not have."""

    code = "model_not_found"
    hint = "Use the model id that GET /v1/models lists."


class UnsupportedMediaTypeError(RequestError):
    """The body's media type is not one that the route reads."""

    code = "unsupported_media_type"
    hint = "Send application/json or multipart/form-data."


class RequestTimeoutError(RequestError):
    """No reply was ready in time."""

    code = "request_timeout"
    retryable = True
    hint = "Try again later; operators: REFDESK_LIMIT_REQUEST_S says how long a request may take."


@dataclass(frozen=True, slots=True)
class Problem:
    """What goes wrong, as it is told to the caller."""

    status: int
    code: str
    detail: str
    hint: str
    retryable: bool = False
    scim_type: str = ""


def documented_codes() -> dict[str, int]:
    """Every code that a reply, a document or a job can carry, with its HTTP status; for docs/errors.md."""
    return {code: status.value for code, status in sorted(_STATUS_BY_CODE.items())}


def status_of(code: str) -> int:
    """The status for a code."""
    return _STATUS_BY_CODE.get(code, HTTPStatus.INTERNAL_SERVER_ERROR).value


def problem_of(error: RefdeskError) -> Problem:
    """What is told about one of our errors."""
    detail = _HIDDEN_OR_ABSENT if isinstance(error, NotFoundError) else error.message
    scim_type = error.scim_type if isinstance(error, ScimRequestError) else ""
    if isinstance(error, TakenError | IdentityTakenError):
        scim_type = "uniqueness"
    return Problem(status_of(error.code), error.code, detail, error.hint, error.retryable, scim_type)


def unexpected_problem() -> Problem:
    """What is told about an error that nobody foresaw: no details."""
    return Problem(500, "internal_error", "something went wrong inside the desk", RefdeskError.hint)


def problem_body(problem: Problem, request_id: str) -> dict[str, object]:
    """RFC 9457 members, with ours: `code`, `hint`, `request_id`, `retryable`."""
    return {
        "type": f"urn:refdesk:error:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "hint": problem.hint,
        "request_id": request_id,
        "retryable": problem.retryable,
    }


def openai_body(problem: Problem) -> dict[str, object]:
    """The same in the shape that OpenAI's clients read."""
    kind = "invalid_request_error" if problem.status < 500 else "api_error"
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
        problem.status, kind
    )
    message = f"{problem.detail}. {problem.hint}"
    return {"error": {"message": message, "type": kind, "param": None, "code": problem.code}}


def scim_body(problem: Problem) -> dict[str, object]:
    """The same as an error of SCIM, which knows no 422: what cannot be understood is 400 there."""
    scim_type = problem.scim_type or ("invalidValue" if _scim_status(problem) == 400 else "")
    body: dict[str, object] = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": str(_scim_status(problem)),
        "detail": f"{problem.detail}. {problem.hint}",
    }
    return {**body, "scimType": scim_type} if scim_type else body


def _scim_status(problem: Problem) -> int:
    return 400 if problem.status == HTTPStatus.UNPROCESSABLE_ENTITY else problem.status


def encoded(path: str, problem: Problem, request_id: str) -> tuple[int, dict[str, object], str]:
    """Status, body and media type for a problem, in the shape that the clients of the path read."""
    if path.startswith(OPENAI_PREFIX):
        return problem.status, openai_body(problem), "application/json"
    if path.startswith(SCIM_PREFIX):
        return _scim_status(problem), scim_body(problem), SCIM_TYPE
    return problem.status, problem_body(problem, request_id), PROBLEM_TYPE


def request_id_of(request: Request) -> str:
    """The id that the desk gave this request."""
    return str(getattr(request.state, "request_id", ""))


def reply(request: Request, problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The reply for a problem, in the shape that the route's clients read."""
    status, body, media_type = encoded(request.url.path, problem, request_id_of(request))
    return JSONResponse(body, status_code=status, media_type=media_type, headers=headers)


def register_error_handlers(app: FastAPI) -> None:
    """Answer every error that was foreseen with a problem; `middleware.Envelope` sees to the others."""
    app.add_exception_handler(RefdeskError, _on_refdesk_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)


def headers_of(error: RefdeskError) -> dict[str, str]:
    """What the reply for an error says in its headers: when to come again, or how to sign in."""
    if isinstance(error, RateLimitedError):
        return {
            "Retry-After": str(error.retry_after_s),
            "RateLimit-Policy": error.policy,
            "RateLimit": error.level,
        }
    if status_of(error.code) == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": "2"}
    return {"WWW-Authenticate": "Bearer"} if status_of(error.code) == HTTPStatus.UNAUTHORIZED else {}


def _on_refdesk_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefdeskError)
    if status_of(error.code) >= 500:
        _log.error(
            "request failed", extra={"code": error.code, "request_id": request_id_of(request)}, exc_info=error
        )
    return reply(request, problem_of(error), headers_of(error))


def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    """Which field is wrong and why. What was sent is not repeated: it may be a secret."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()[0]
    place = ".".join(str(part) for part in found["loc"] if isinstance(part, int) or part.isidentifier())
    hint = "Correct the named field and send the request again."
    problem = Problem(422, "invalid_request", f"{place[:100]}: {found['msg'][:200]}", hint)
    return reply(request, problem)


def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = error.status_code if error.status_code in _FROM_FRAMEWORK else 400
    code, detail, hint = _FROM_FRAMEWORK[status]
    headers = dict(error.headers or {}) if status == HTTPStatus.METHOD_NOT_ALLOWED else None
    return reply(request, Problem(status, code, detail, hint), headers)
