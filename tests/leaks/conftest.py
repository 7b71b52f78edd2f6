"""A desk over the sample handbook, and what of it is restricted."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from retrieval.access import Principal, PrincipalId, UserId
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.corpus import Document
from serving.desk import Desk
from serving.http.app import create_app
from tests.desks import ROOT, shared_desk


@pytest.fixture(scope="session")
def desk() -> Iterator[Desk]:
    """A running desk without login."""
    with shared_desk() as opened:
        yield opened


@pytest.fixture(scope="session")
def app(desk: Desk) -> FastAPI:
    """Its application."""
    return create_app(desk)


@pytest.fixture(scope="session")
def restricted(desk: Desk) -> list[Document]:
    """The documents of the restricted folders, as somebody in both groups sees them."""
    groups = frozenset({PrincipalId("group:hr"), PrincipalId("group:board")})
    insider = Principal(UserId("insider"), groups)
    found = [
        document
        for folder in ("hr-restricted/", "board/")
        for document in desk.corpus.documents(
            insider, DocumentFilter(path_prefix=folder), after=None, limit=100
        )
    ]
    assert len(found) >= 8
    return found


@pytest.fixture(scope="session")
def codewords() -> list[str]:
    """Words that stand in one restricted folder and nowhere else."""
    soundness = tomllib.loads((ROOT / "sample" / "quality" / "soundness.toml").read_text())
    return [word for words in soundness["restricted_words"].values() for word in words]
