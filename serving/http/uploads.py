"""A pushed document as it arrives: a JSON body, or a multipart form with a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from retrieval.errors import InvalidQueryError
from serving.http import schemas
from serving.http.errors import UnsupportedMediaTypeError
from serving.http.rendering import validated

_NESTED = ("acl", "sections", "labels", "metadata")
_FORM_FIELDS = frozenset(schemas.PushIn.model_fields) | {"file"}


@dataclass(frozen=True, slots=True)
class Upload:
    """What was stated about a document, and its bytes where they came as a file."""

    fields: schemas.PushIn
    content: bytes | None


async def read_upload(request: Request) -> Upload:
    """Read the body in either form.

    Raises:
        UnsupportedMediaTypeError: It is neither JSON nor a multipart form.
        InvalidQueryError: A nested field of the form is not JSON.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        return Upload(validated(schemas.PushIn, await request.body()), None)
    if media_type == "multipart/form-data":
        return await _read_form(request)
    raise UnsupportedMediaTypeError("the body must be application/json or multipart/form-data")


async def _read_form(request: Request) -> Upload:
    fields: dict[str, Any] = {}
    content: bytes | None = None
    async with request.form(max_files=1, max_fields=len(_FORM_FIELDS)) as form:
        for name, value in form.multi_items():
            if name not in _FORM_FIELDS or name in fields:
                raise InvalidQueryError("the form has a field that is unknown or comes twice")
            if isinstance(value, UploadFile):
                content = await value.read()
            else:
                fields[name] = _parsed(name, value) if name in _NESTED else value
    return Upload(validated(schemas.PushIn, fields), content)


def _parsed(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise InvalidQueryError(f"{name} is not valid JSON") from error


def upload_body_schema() -> dict[str, Any]:
    """The body's two forms for the OpenAPI document."""
    as_json = {"$ref": "#/components/schemas/PushIn"}
    text = {"type": "string"}
    form = {
        "type": "object",
        "required": ["source_id", "external_id", "file"],
        "properties": {
            "source_id": {**text, "minLength": 1},
            "external_id": {**text, "minLength": 1},
            "title": text,
            "url": text,
            "acl": {**text, "description": "JSON, as in the other form"},
            "sections": {**text, "description": "JSON, as in the other form"},
            "labels": {**text, "description": "JSON, as in the other form"},
            "metadata": {**text, "description": "JSON, as in the other form"},
            "file": {"type": "string", "format": "binary"},
        },
    }
    content = {"application/json": {"schema": as_json}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}
