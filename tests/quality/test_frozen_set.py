"""The frozen questions on the sample handbook, through the HTTP API with extracts, against the bars of A9."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.http.app import create_app
from serving.limits import UNLIMITED
from tests.desks import ROOT, client_of, shared_desk

pytestmark = [pytest.mark.quality, pytest.mark.timeout(600), pytest.mark.xdist_group("quality")]

QUESTIONS = ROOT / "sample" / "quality" / "questions.jsonl"


@dataclass(frozen=True)
class Asked:
    """One question with what search and answer gave for it."""

    question: dict[str, Any]
    found: list[str]
    reply: dict[str, Any]

    @property
    def expected(self) -> set[str]:
        """External ids of the documents that answer the question."""
        return set(self.question["documents"])

    @property
    def cited(self) -> list[str]:
        """External ids of the cited documents, one per citation."""
        references = {hit["document_id"]: hit["external_id"] for hit in self.reply["references"]}
        return [references[citation["document_id"]] for citation in self.reply["citations"]]


@pytest.fixture(scope="module")
def asked() -> Iterator[list[Asked]]:
    """Every frozen question, searched and asked as its user."""
    with shared_desk() as desk:
        app = create_app(desk, limits=UNLIMITED)
        yield [_ask(client_of(app, user=q["as_user"]), q) for q in _questions(QUESTIONS)]


def test_documents_are_found(asked: list[Asked]) -> None:
    """Recall@10 over the answerable questions is at least 0.95."""
    answerable = [one for one in asked if not one.question["unanswerable"]]
    recall = sum(bool(one.expected & set(one.found)) for one in answerable) / len(answerable)
    print(f"recall@10 {recall:.3f}")
    assert len(answerable) == 50
    assert recall >= 0.95


def test_citations_point_to_the_right_documents(asked: list[Asked]) -> None:
    """Of all citations given to answerable questions at least 95 % are of an expected document."""
    cited = [(one, path) for one in asked if not one.question["unanswerable"] for path in one.cited]
    precision = sum(path in one.expected for one, path in cited) / len(cited)
    wrong = [(one.question["_id"], path) for one, path in cited if path not in one.expected]
    print(f"citation precision {precision:.3f} over {len(cited)} citations, wrong: {wrong}")
    assert precision >= 0.95


def test_unanswerable_questions_are_declined(asked: list[Asked]) -> None:
    """9 of 10 unanswerable questions are declined, and at most 2 of 50 answerable ones."""
    declined = {one.question["_id"] for one in asked if one.reply["abstained"]}
    unanswerable = {one.question["_id"] for one in asked if one.question["unanswerable"]}
    print(
        f"declined {len(declined & unanswerable)} of {len(unanswerable)}, wrongly {sorted(declined - unanswerable)}"
    )
    assert len(unanswerable) == 10
    assert len(declined & unanswerable) >= 9
    assert len(declined - unanswerable) <= 2


def test_answers_are_in_the_quotes(asked: list[Asked]) -> None:
    """Most given answers contain an accepted string; a floor against regressions, not a bar."""
    given = [one for one in asked if not one.question["unanswerable"] and not one.reply["abstained"]]
    right = [one for one in given if _has_answer(one)]
    missed = [one.question["_id"] for one in given if one not in right]
    print(f"answer in text {len(right)} of {len(given)}, missed {missed}")
    assert len(right) >= 0.7 * len(given)


def _questions(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _ask(client: TestClient, question: dict[str, Any]) -> Asked:
    found = client.post("/api/v1/search", json={"query": question["text"], "limit": 10})
    reply = client.post("/api/v1/answers", json={"question": question["text"], "mode": "extractive"})
    assert found.status_code == reply.status_code == 200, reply.text
    return Asked(question, [hit["external_id"] for hit in found.json()["hits"]], reply.json())


def _has_answer(one: Asked) -> bool:
    text = " ".join(one.reply["answer"].split()).casefold()
    return any(" ".join(answer.split()).casefold() in text for answer in one.question["answers"])
