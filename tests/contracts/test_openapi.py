"""Whatever the OpenAPI document allows and forbids, the desk answers as the document says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from retrieval.access import UserId
from serving.desk import Desk
from serving.http.app import OPENAPI_PATH, create_app
from serving.http.errors import documented_codes
from serving.limits import UNLIMITED
from serving.scopes import ALL_SCOPES
from tests.desks import shared_desk

pytestmark = pytest.mark.timeout(600)

_N_EXAMPLES = 8
"""Requests per operation; always the same ones."""

SCIM_TYPES = frozenset(
    (
        "",
        "invalidFilter",
        "uniqueness",
        "mutability",
        "invalidSyntax",
        "invalidPath",
        "noTarget",
        "invalidValue",
    )
)
"""Words for errors of RFC 7644, section 3.12, that the desk uses; none where no word there fits."""

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """A running desk that asks for keys."""
    with shared_desk() as opened:
        yield replace(opened, settings=opened.settings.model_copy(update={"identity": "keys"}))


@pytest.fixture(scope="module")
def app(desk: Desk) -> FastAPI:
    """Its application, which never asks to wait."""
    return create_app(desk, limits=UNLIMITED)


@pytest.fixture(scope="module")
def key(desk: Desk) -> str:
    """A key for everything."""
    return desk.directory.create_key(UserId("tester"), name="t", scopes=ALL_SCOPES, expires_at=None)[1]


@pytest.fixture(scope="module")
def api_schema(app: FastAPI) -> Any:
    """The OpenAPI document, with requests that fit it and requests that do not."""
    return schemathesis.openapi.from_asgi(OPENAPI_PATH, app)


@pytest.mark.parametrize("is_valid", [True, False], ids=["fitting", "unfitting"])
def test_every_operation_keeps_its_word(
    api_schema: Any, key: str, is_valid: bool, subtests: pytest.Subtests
) -> None:
    """No server error; replies fit the document; every error is a problem with a documented code."""
    mode = GenerationMode.POSITIVE if is_valid else GenerationMode.NEGATIVE
    for found in api_schema.get_all_operations():
        operation = found.ok()
        with subtests.test(operation.label), suppress(Unsatisfiable):  # nothing is unfitting without input
            check_operation(operation.as_strategy(generation_mode=mode), key)


def check_operation(cases: SearchStrategy[Any], key: str) -> None:
    """Send the operation's requests and check each reply."""

    @settings(
        max_examples=_N_EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def check(case: Any) -> None:
        if "limit_s" in case.query:
            case.query["limit_s"] = 0.1
        response = case.call(headers={"Authorization": f"Bearer {key}"})
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            check_error(case.path, response.status_code, response.json())

    check()


def check_error(path: str, status: int, body: dict[str, Any]) -> None:
    """An error has the form that clients of the path read, and a word that is documented."""
    if path.startswith("/scim/"):
        assert body["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
        assert body["status"] == str(status)
        assert body.get("scimType", "") in SCIM_TYPES
        return
    code = body["error"]["code"] if path.startswith("/v1/") else body["code"]
    assert documented_codes()[code] == status


def test_errors_are_described_for_every_operation(app: FastAPI) -> None:
    """Each operation names a problem as its default reply, and none FastAPI's own error."""
    document = app.openapi()
    for path, by_method in document["paths"].items():
        for operation in by_method.values():
            assert "default" in operation["responses"], path
            assert "422" not in operation["responses"], path
    assert "HTTPValidationError" not in document["components"]["schemas"]
