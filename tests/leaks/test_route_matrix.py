"""Every route of the application, asked by every kind of caller: what comes of it is what is declared, exactly.

The routes come from the application. What each of them asks for stands in `benchmarks.permissions.matrix`: the
scopes, and whose the thing is that it is about. A route that is not in there fails the first test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from benchmarks.permissions.matrix import GUARDED, KINDS, ROUTES, Lineup, open_lineup, told_apart, wrong
from serving.http.app import OPENAPI_PATH, UnguardedRouteError, create_app
from serving.http.identity import Requires, declared_scopes
from serving.http.routes import indexes
from serving.scopes import Scope

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def lineup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lineup]:
    """A desk with a key for every kind of caller."""
    with open_lineup(tmp_path_factory.mktemp("matrix") / "state") as opened:
        yield opened


@pytest.fixture(scope="module")
def app(lineup: Lineup) -> FastAPI:
    """The application."""
    return lineup.bench.app


def walk(routes: Any) -> Iterator[Any]:
    """All routes, those of included routers too."""
    for route in routes:
        inside = getattr(route, "original_router", None)
        if inside is None:
            yield route
        else:
            yield from walk(inside.routes)


def methods_of(route: Any) -> set[str]:
    """The methods of a route; HEAD goes with GET."""
    return set(route.methods or ()) - {"HEAD"}


def test_every_route_is_in_the_table(app: FastAPI) -> None:
    """A new route, page or probe fails here until somebody says what it asks for."""
    found = {(method, route.path_format) for route in walk(app.routes) for method in methods_of(route)}
    described = {
        (method.upper(), path) for path, operations in app.openapi()["paths"].items() for method in operations
    }
    assert described <= found
    missing, gone = found - ROUTES.keys(), ROUTES.keys() - found
    assert not missing, f"add to ROUTES the scopes and the About of {sorted(missing)}"
    assert not gone, f"take out of ROUTES, there is no such route any more: {sorted(gone)}"


def test_routes_declare_the_scopes_of_the_table(app: FastAPI) -> None:
    """A scope that is changed or dropped is a change of the contract, and is made here too."""
    for route in walk(app.routes):
        for method in methods_of(route):
            declared = declared_scopes(route) if isinstance(route, APIRoute) else None
            path = route.path_format
            assert (declared is not None) == path.startswith(GUARDED) or path == OPENAPI_PATH
            assert tuple(declared or ()) == ROUTES[method, path].scopes, (method, path)


def test_a_route_without_a_declaration_keeps_the_application_from_starting(
    lineup: Lineup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No application is made with a route of the API that forgot to say what it needs."""
    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/everything", lambda: {"secret": True})
    monkeypatch.setattr(indexes, "router", router)
    with pytest.raises(UnguardedRouteError, match="/api/v1/everything"):
        create_app(lineup.bench.desk)
    declared = APIRouter(prefix="/api/v1")

    @declared.get("/everything")
    def everything(caller: object = Requires(Scope.ADMIN)) -> None:  # a default is no dependency
        """Looks declared, and is not."""

    monkeypatch.setattr(indexes, "router", declared)
    with pytest.raises(UnguardedRouteError, match="/api/v1/everything"):
        create_app(lineup.bench.desk)


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_outcome_is_the_declared_one(lineup: Lineup, route: tuple[str, str]) -> None:
    """Allowed, 401, 403 with the scope that is missing, or 404; whoever is refused changes nothing."""
    faults = {name: wrong(lineup, route, name) for name in KINDS}
    assert not any(faults.values()), {name: fault for name, fault in faults.items() if fault}


@pytest.mark.parametrize("name", KINDS)
def test_hidden_and_absent_answer_the_same_bytes(lineup: Lineup, name: str) -> None:
    """Where a kind gets a 404, an id that nothing has gets the same reply, byte for byte."""
    assert told_apart(lineup, name) == ""
