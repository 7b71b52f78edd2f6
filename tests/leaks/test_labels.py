"""What is labelled `no-ai` enters no prompt on any path; what is over its period is there for nobody."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from benchmarks.permissions.desk import INSIDE, Bench, open_bench
from retrieval.adapters.sql.audit import Span
from retrieval.adapters.sql.expiry import EXPIRED_EVENT
from retrieval.adapters.sql.models import DocumentRow
from retrieval.corpus import DocumentId, SourceId, document_id_for
from retrieval.errors import NotFoundError
from retrieval.query import Query
from retrieval.search import Search, SearchSettings
from retrieval.wiring import utc_now
from serving.scopes import ALL_SCOPES
from tests.desks import ROOT
from tests.make import make_principal

SECRET = "The merger with Ostrel is planned for the spring of 2027."
OPEN = "The canteen and the merger of its two kitchens are planned for the autumn of 2026."
QUESTION = "When is the merger with Ostrel planned?"
ANNEX = "The annex says that the merger price is nine million."


class Desk:
    """A bench and its owner's requests."""

    def __init__(self, bench: Bench, client: TestClient) -> None:
        self.bench, self.client = bench, client
        bench.user("sven")
        bench.source("papers", "sven")
        self.key = bench.key("sven", ALL_SCOPES)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; its reply."""
        headers = {"Authorization": f"Bearer {self.key}"}
        reply = self.client.request(method, path, json=body, headers=headers)
        assert reply.status_code < 300, reply.text
        return reply

    def push(self, name: str, text: str, *, age_days: int = 0, **fields: Any) -> DocumentId:
        """Push a document and bring it in; its id."""
        changed_at = (utc_now() - timedelta(days=age_days)).isoformat()
        body = {"source_id": "papers", "external_id": name, "text": text, "title": name}
        self.ask("PUT", "/api/v1/documents", {**body, "metadata": {"modified_at": changed_at}, **fields})
        self.bench.work()
        return document_id_for(SourceId("papers"), name)

    def label(self, document_id: str, *labels: str) -> Any:
        """Set a document's labels as its owner."""
        return self.ask("PUT", f"/api/v1/documents/{document_id}/labels", {"labels": labels}).json()

    def found(self) -> set[str]:
        """Names of documents that a search for the merger shows."""
        reply = self.ask("POST", "/api/v1/search", {"query": QUESTION, "limit": 50}).json()
        return {hit["external_id"] for hit in reply["hits"]}

    def listed(self) -> set[str]:
        """Names of documents in the listing."""
        return {each["external_id"] for each in self.ask("GET", "/api/v1/documents").json()["documents"]}

    def prompts(self) -> str:
        """Everything that models were given since the last look."""
        requests = self.bench.model.requests
        told = [message.content for request in requests for message in request.messages]
        told += [window.hit.passage.text for request in requests for window in request.evidence]
        requests.clear()
        return "\n".join(told)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk with one document that is planned to be labelled, and one that is not."""
    with (
        open_bench(tmp_path / "state") as bench,
        TestClient(bench.app, "http://127.0.0.1:8080") as client,
    ):
        opened = Desk(bench, client)
        opened.push("secret.txt", SECRET)
        opened.push("open.txt", OPEN)
        yield opened


PATHS = {
    "whole": ("/api/v1/answers", {"question": QUESTION}),
    "stream": ("/api/v1/answers", {"question": QUESTION, "stream": True}),
    "extracts": ("/api/v1/answers", {"question": QUESTION, "mode": "extractive"}),
    "narrowed to it": (
        "/api/v1/answers",
        {"question": QUESTION, "filters": {"path_prefix": "secret"}},
    ),
    "follow-up": ("/api/v1/answers", {"question": QUESTION, "conversation_id": "one"}),
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}]}),
    "streamed chat": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": QUESTION}], "stream": True},
    ),
    "chat with an answer of before": (
        "/v1/chat/completions",
        {
            "messages": [
                {"role": "user", "content": "What about it?"},
                {"role": "assistant", "content": SECRET},
                {"role": "user", "content": QUESTION},
            ]
        },
    ),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_labelled_document_enters_no_prompt(desk: Desk, path: str) -> None:
    """From the next request on; search still finds it, and the answer says that something was left out."""
    route, body = PATHS[path]
    desk.ask("POST", route, body)
    desk.prompts()
    desk.label(document_id_for(SourceId("papers"), "secret.txt"), "no-ai")
    reply = desk.ask("POST", route, body).text
    assert "spring of 2027" not in reply + desk.prompts()
    assert desk.found() == {"secret.txt", "open.txt"}
    assert _withheld(reply) == 1
    desk.label(document_id_for(SourceId("papers"), "secret.txt"))
    assert "spring of 2027" in desk.ask("POST", route, body).text


def _withheld(reply: str) -> int:
    return max(map(int, re.findall(r'"withheld": ?(\d+)', reply)))


def test_only_what_the_asker_reads_is_counted(desk: Desk) -> None:
    """Somebody else is not told that there is anything."""
    desk.label(document_id_for(SourceId("papers"), "secret.txt"), "no-ai")
    desk.bench.user("bo")
    headers = {"Authorization": f"Bearer {desk.bench.key('bo', ALL_SCOPES)}"}
    reply = desk.client.post("/api/v1/answers", json={"question": QUESTION}, headers=headers)
    assert (reply.json()["withheld"], reply.json()["abstained"]) == (0, True)


def test_many_labelled_passages_do_not_crowd_out_others(desk: Desk) -> None:
    """An answer is found behind more labelled passages than are looked at first."""
    desk.push("minutes.txt", "\n\n".join(f"{SECRET} {n}" for n in range(60)), labels=["no-ai"])
    desk.label(document_id_for(SourceId("papers"), "secret.txt"), "no-ai")
    reply = desk.ask("POST", "/api/v1/answers", {"question": QUESTION}).json()
    assert {each["external_id"] for each in reply["references"]} == {"open.txt"}
    assert reply["withheld"] > 0


def test_a_label_set_while_the_model_writes_takes_its_citation_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is not given with what may not be answered from any more."""
    model = desk.bench.model
    generate = model.generate

    def label_and_generate(request: Any) -> Iterator[str]:
        desk.label(document_id_for(SourceId("papers"), "secret.txt"), "no-ai")
        yield from generate(request)

    monkeypatch.setattr(model, "generate", label_and_generate)
    reply = desk.ask("POST", "/api/v1/answers", {"question": QUESTION, "filters": {"path_prefix": "secret"}})
    assert "spring of 2027" not in reply.text
    assert reply.json()["abstained"]


def test_search_can_hide_what_is_labelled(desk: Desk) -> None:
    """With `REFDESK_NO_AI_SEARCH=hidden` search does not find it, nor counts it in a facet."""
    desk.label(document_id_for(SourceId("papers"), "secret.txt"), "no-ai")
    hiding = Search(
        corpus=desk.bench.desk.corpus,
        answering=desk.bench.desk.indexes.answering,
        settings=SearchSettings(hides_no_ai=True),
    )
    result = hiding.search(Query(QUESTION), make_principal("sven"))
    assert {hit.passage.external_id for hit in result.hits} == {"open.txt"}
    assert result.facets["source"] == {"papers": 1}


def test_an_owners_label_is_not_lost_at_a_push(desk: Desk) -> None:
    """The source may state other labels, or none; the owner's stays, also when the document comes back."""
    id_ = document_id_for(SourceId("papers"), "secret.txt")
    desk.label(id_, "no-ai")
    for labels in (["hold"], []):
        desk.push("secret.txt", f"{SECRET} {labels}", labels=labels)
        assert {each["name"] for each in _labels(desk, id_)} == {"no-ai", *labels}
    desk.ask("DELETE", f"/api/v1/documents/{id_}")
    desk.push("secret.txt", SECRET)
    assert _labels(desk, id_) == [{"name": "no-ai", "origin": "owner"}]


def _labels(desk: Desk, document_id: str) -> list[dict[str, str]]:
    labels: list[dict[str, str]] = desk.ask("GET", f"/api/v1/documents/{document_id}").json()["labels"]
    return labels


def test_what_is_found_inside_has_the_labels_of_what_is_around_it(desk: Desk) -> None:
    """At once, and after it was read anew; a label that is taken away goes there, too."""
    id_ = desk.push("mail.txt", f"{OPEN}{INSIDE}annex.txt\n{ANNEX}")
    annex = document_id_for(SourceId("papers"), "mail.txt!/annex.txt")
    desk.label(id_, "no-ai")
    assert _labels(desk, annex) == [{"name": "no-ai", "origin": "parent"}]
    desk.push("mail.txt", f"{OPEN} Again.{INSIDE}other.txt\n{ANNEX}")
    other = document_id_for(SourceId("papers"), "mail.txt!/other.txt")
    assert _labels(desk, other) == [{"name": "no-ai", "origin": "parent"}]
    desk.label(id_)
    assert _labels(desk, other) == []


def test_a_sources_label_counts_for_all_its_documents(desk: Desk) -> None:
    """From the next request on, whatever their own labels are."""
    desk.ask("PATCH", "/api/v1/sources/papers", {"labels": ["no-ai"]})
    assert desk.ask("GET", "/api/v1/sources/papers").json()["labels"] == ["no-ai"]
    reply = desk.ask("POST", "/api/v1/answers", {"question": QUESTION}).json()
    assert (reply["references"], reply["withheld"], desk.prompts()) == ([], 2, "")


def test_a_name_that_is_no_label_is_refused(desk: Desk) -> None:
    """By every route that takes labels."""
    id_ = document_id_for(SourceId("papers"), "secret.txt")
    pushed = {"source_id": "papers", "external_id": "x", "text": "x"}
    for method, path, body in (
        ("PUT", f"/api/v1/documents/{id_}/labels", {}),
        ("PUT", "/api/v1/documents", pushed),
        ("PATCH", "/api/v1/sources/papers", {}),
        ("POST", "/api/v1/sources", {"name": "n", "kind": "push"}),
    ):
        headers = {"Authorization": f"Bearer {desk.key}"}
        reply = desk.client.request(method, path, json={**body, "labels": ["noai"]}, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")


# --- retention


def test_what_is_over_its_period_is_there_for_nobody(desk: Desk) -> None:
    """At once, before anything was tidied up: no search, no listing, no record, no answer, no count."""
    id_ = desk.push("old.txt", SECRET, age_days=29, labels=["retention:short"])
    assert "old.txt" in desk.found() & desk.listed()
    with desk.bench.desk.database.write() as session:
        session.get_one(DocumentRow, id_).modified_at -= timedelta(days=2)
    assert "old.txt" not in desk.found() | desk.listed()
    headers = {"Authorization": f"Bearer {desk.key}"}
    for tail in ("", "/text", "/chunks", "/versions", "/history"):
        assert desk.client.get(f"/api/v1/documents/{id_}{tail}", headers=headers).status_code == 404
    body = {"labels": ["hold"]}
    assert desk.client.put(f"/api/v1/documents/{id_}/labels", json=body, headers=headers).status_code == 404
    desk.ask("POST", "/api/v1/answers", {"question": QUESTION, "filters": {"documents": [id_]}})
    assert desk.prompts() == ""
    assert desk.ask("GET", "/api/v1/status").json()["documents_by_state"] == {"live": 2}


def test_it_goes_for_good_with_its_class_on_record(desk: Desk) -> None:
    """A tombstone, chunks out of the catalogue, what was found inside as well; then nothing is left to do."""
    id_ = desk.push("old.txt", f"{SECRET}{INSIDE}annex.txt\n{ANNEX}", age_days=60, labels=["retention:short"])
    annex = document_id_for(SourceId("papers"), "old.txt!/annex.txt")
    expiry, catalogue = desk.bench.toolbox.expiry, desk.bench.desk
    assert set(expiry.bury_due()) == {id_, annex}
    assert expiry.bury_due() == []
    desk.bench.work()
    assert catalogue.corpus.record(id_).deleted_at is not None
    assert desk.bench.toolbox.store.chunk_ids(id_) == []
    with pytest.raises(NotFoundError):
        catalogue.blobs.get(f"pushed/{id_}")
    records = list(catalogue.audit.stream(Span(events=(EXPIRED_EVENT,))))
    assert [record.facts["retention"] for record in records] == [["short"], ["short"]]
    assert catalogue.audit.verify().reason == ""


@pytest.mark.parametrize("labels", [["hold"], ["retention:long"], ["retention:odd"]])
def test_what_is_kept_still_stays(desk: Desk, labels: list[str]) -> None:
    """On hold, in a longer class as well, or in one that nobody gave a period, which is a warning."""
    id_ = desk.push("old.txt", SECRET, age_days=60, labels=["retention:short", *labels])
    assert desk.bench.toolbox.expiry.bury_due() == []
    record = desk.ask("GET", f"/api/v1/documents/{id_}").json()
    assert record["warnings"] == (["unknown_retention_class"] if labels == ["retention:odd"] else [])
    assert record["held"] == (labels == ["hold"])
    assert (record["kept_until"] is None) == (labels == ["retention:odd"])


def test_a_held_file_inside_stays_while_what_is_around_it_is_over(desk: Desk) -> None:
    """The mail is not served any more, the attachment on hold is, and keeps the mail from being buried."""
    id_ = desk.push("mail.txt", f"{OPEN}{INSIDE}annex.txt\n{ANNEX}", age_days=60)
    annex = document_id_for(SourceId("papers"), "mail.txt!/annex.txt")
    desk.label(annex, "hold")
    desk.label(id_, "retention:short")
    assert desk.listed() == {"secret.txt", "open.txt", "mail.txt!/annex.txt"}
    assert desk.bench.toolbox.expiry.bury_due() == []
    desk.label(annex)
    assert set(desk.bench.toolbox.expiry.bury_due()) == {id_, annex}


def test_what_ends_soon_is_listed(desk: Desk) -> None:
    """The next one first, with its date; what ends later, is held or has ended is not."""
    desk.push("soon.txt", SECRET, age_days=25, labels=["retention:short"])
    desk.push("sooner.txt", SECRET, age_days=28, labels=["retention:short"])
    desk.push("held.txt", SECRET, age_days=28, labels=["retention:short", "hold"])
    desk.push("later.txt", SECRET, labels=["retention:long"])
    desk.push("over.txt", SECRET, age_days=60, labels=["retention:short"])
    found = desk.ask("GET", "/api/v1/retention?days=10").json()
    assert [each["external_id"] for each in found["documents"]] == ["sooner.txt", "soon.txt"]
    assert (found["classes"], found["others"]) == ({"long": 3650, "short": 30}, 0)
    assert json.dumps(found).count("kept_until") == 2


# --- nobody goes round it


def test_only_the_gate_makes_what_may_enter_a_prompt() -> None:
    """`Promptable(…)` is called in `serving/admission.py` and nowhere else in the product."""
    makers = set()
    for package in ("retrieval", "ingest", "serving", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
            names = {ast.unparse(call.func).rpartition(".")[2] for call in calls}
            casts = "cast(Promptable" in path.read_text()
            if "Promptable" in names or casts:
                makers.add(path.relative_to(ROOT).as_posix())
    assert makers == {"serving/admission.py"}
