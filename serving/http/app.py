"""The HTTP application over an opened desk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig

from serving.desk import Desk
from serving.http import schemas
from serving.http.callers import Callers
from serving.http.errors import PROBLEM_TYPE, SCIM_PREFIX, SCIM_TYPE, register_error_handlers
from serving.http.identity import declared_scopes
from serving.http.limits import Counter
from serving.http.metrics import Metrics
from serving.http.middleware import BodyLimits, Envelope
from serving.http.routes import (
    administration,
    asking,
    auditing,
    directory,
    documents,
    indexes,
    openai,
    operations,
    scim,
    sources,
)
from serving.http.signing_in import sign_in_router
from serving.http.status import Readiness, refdesk_version
from serving.http.web import SignInPages, web_router
from serving.limits import Limits, limits_of

OPENAPI_PATH = "/api/v1/openapi.json"

_N_THREADS = 64
"""Requests that are worked on at a time; a streamed answer holds a thread only while it waits for words."""

_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}

_GUARDED = ("/api/v1", "/v1", "/scim")


class UnguardedRouteError(Exception):
    """A route of the API does not say which scope it needs. Raised when the application is made."""


def create_app(desk: Desk, *, limits: Limits | None = None) -> FastAPI:
    """The application, ready to be served.

    Args:
        desk: An opened desk; it has to stay open as long as the application is served.
        limits: What callers may do, instead of what the settings say.

    Raises:
        UnguardedRouteError: A route of the API does not declare its scope.
        InvalidSettingsError: The settings would let people come in unseen.
    """
    app = FastAPI(
        title="Refdesk",
        version=refdesk_version(),
        openapi_url=OPENAPI_PATH,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
        lifespan=_enough_threads,
    )
    app.state.desk = desk
    app.state.callers = Callers(desk)
    app.state.metrics = Metrics()
    app.state.readiness = Readiness(desk)
    app.state.counter = Counter(limits_of(desk.settings) if limits is None else limits)
    routers = [
        module.router
        for module in (
            asking,
            documents,
            sources,
            administration,
            auditing,
            directory,
            indexes,
            openai,
            operations,
            scim,
        )
    ]
    signs_in = desk.settings.identity == "oidc" and bool(desk.settings.oidc_client_id)
    if signs_in:
        routers.append(sign_in_router(SignInPages()))
    for router in (*routers, asking.writes, documents.questions, web_router(signs_in=signs_in)):
        _refuse_unguarded(router)
        app.include_router(router)
    register_error_handlers(app)
    app.add_middleware(
        Envelope,
        limits=BodyLimits(upload=desk.settings.max_body_mb * 2**20),
        is_local=desk.settings.identity == "local",
        metrics=app.state.metrics,
        counter=app.state.counter,
    )
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


@asynccontextmanager
async def _enough_threads(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001  # FastAPI's signature
    anyio.to_thread.current_default_thread_limiter().total_tokens = _N_THREADS
    yield


def _refuse_unguarded(router: APIRouter) -> None:
    for route in router.routes:
        path = getattr(route, "path", "")
        if not path.startswith(_GUARDED):
            continue
        if not isinstance(route, APIRoute) or declared_scopes(route) is None:
            raise UnguardedRouteError(f"{path} does not declare the scope it needs")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, in which every route's errors are problems."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        components = document.setdefault("components", {}).setdefault("schemas", {})
        for model in (schemas.Problem, schemas.PushIn):
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            components.update(described.pop("$defs", {}))
            components[model.__name__] = described
        for name in ("HTTPValidationError", "ValidationError"):
            components.pop(name, None)
        for path, operations_by_method in document["paths"].items():
            for operation in operations_by_method.values():
                _describe_errors(path, operation)
        app.openapi_schema = document
    return app.openapi_schema


def _describe_errors(path: str, operation: dict[str, Any]) -> None:
    operation["responses"].pop("422", None)
    problem = {"$ref": "#/components/schemas/Problem"}
    content: dict[str, Any] = {PROBLEM_TYPE: {"schema": problem}}
    if path.startswith(SCIM_PREFIX):
        content = {SCIM_TYPE: {"schema": {"type": "object", "required": ["schemas", "status"]}}}
    if path.startswith("/v1/"):
        content = {"application/json": {"schema": {"type": "object", "required": ["error"]}}}
    operation["responses"]["default"] = {"description": "An error", "content": content}
