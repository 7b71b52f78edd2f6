"""Probes and metrics, at the root. Open to everybody, so they tell nothing of the corpus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from retrieval.errors import RefdeskError
from serving.http.dependencies import TheDesk
from serving.http.identity import identify
from serving.http.metrics import Metrics
from serving.http.status import Readiness, is_ready
from serving.scopes import Scope

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """Whether each part works: `ok` or an error code by part; 503 when questions cannot be answered."""
    readiness: Readiness = request.app.state.readiness
    parts = readiness.parts()
    ready = is_ready(parts)
    degraded = ready and any(outcome != "ok" for outcome in parts.values())
    status = "degraded" if degraded else "ready" if ready else "not_ready"
    return JSONResponse({"status": status, "parts": parts}, status_code=200 if ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request, desk: TheDesk) -> Response:
    """Prometheus metrics; counts of documents and jobs only for callers with the scope `metrics:read`."""
    collected: Metrics = request.app.state.metrics
    corpus = desk.corpus.totals() if _may_count(request) else {}
    return Response(collected.render(corpus), media_type=CONTENT_TYPE_LATEST)


def _may_count(request: Request) -> bool:
    try:
        return Scope.METRICS_READ in identify(request).scopes
    except RefdeskError:
        return False
