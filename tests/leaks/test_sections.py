"""A section with a tighter list inside an open document: hidden on every surface, the rest visible."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from benchmarks.permissions.desk import INSIDE, Bench, open_bench
from retrieval.access import Acl, Principal, PrincipalId, UserId, filter_for, user_principal
from retrieval.adapters.sql.erasing import SqlErasing
from retrieval.adapters.sql.links import SqlLinks
from retrieval.adapters.sql.models import ChunkRow, DocumentRow
from retrieval.corpus import DocumentId, SourceId, document_id_for
from retrieval.ports import IndexQuery
from retrieval.query import Legs, Query
from retrieval.sections import SectionRule, Standing
from retrieval.wiring import utc_now
from serving.scopes import END_USER_SCOPES, Scope

SOURCE = SourceId("papers")
NAME = "handbook.txt"
ID = DocumentId(document_id_for(SOURCE, NAME))
LEAVE = "Everybody has thirty days of leave in a year."
PAY = "The directors earn four hundred ducats in a year."
BONUS = "A bonus of ninety ducats is paid in a good year."
TEXT = (
    f"# Handbook / Leave\n{LEAVE}\n\n# Handbook / Pay zqsecret\n{PAY}\n\n"
    f"# Handbook / Pay zqsecret / Bonus / Rules / Exceptions\n{BONUS}"
)
HIDDEN = ("ducats", "zqsecret", "directors", "bonus", "Exceptions")
EVERYONE = frozenset({PrincipalId("group:everyone")})
HR = frozenset({PrincipalId("group:hr")})
OPEN = Acl(UserId("sven"), EVERYONE | HR)
RULE = SectionRule(("Pay zqsecret",), HR)

ADA = Principal(UserId("ada"), HR)
BO = Principal(UserId("bo"))
SVEN = Principal(UserId("sven"))

WRITER = END_USER_SCOPES | {Scope.SOURCES_WRITE, Scope.DOCUMENTS_WRITE}


class Desk:
    """A bench, and its application as people ask it."""

    def __init__(self, bench: Bench, client: TestClient) -> None:
        self.bench, self.client = bench, client
        self.keys = {name: bench.key(name, frozenset(WRITER)) for name in ("ada", "bo", "sven")}

    def ask(self, who: str, method: str, path: str, body: Any = None) -> Any:
        """One request."""
        headers = {"Authorization": f"Bearer {self.keys[who]}"}
        return self.client.request(method, path, json=body, headers=headers)

    def get(self, who: str, path: str = "") -> Any:
        """What is shown below the document's address."""
        reply = self.ask(who, "GET", f"/api/v1/documents/{ID}{path}")
        assert reply.status_code == 200, reply.text
        return reply.json()

    def share(self, *sections: dict[str, Any], who: str = "sven") -> Any:
        """Set the document's rules by hand, its list as it is."""
        body = {"allow": ["everyone", "hr"], "sections": list(sections)}
        reply = self.ask(who, "PUT", f"/api/v1/documents/{ID}/acl", body)
        assert reply.status_code == 202, reply.text
        return reply.json()

    def push(self, text: str, *sections: SectionRule) -> None:
        """Push a text and bring it in; without rules those before stay."""
        self.bench.push(SOURCE, NAME, text, None, sections=sections or None)
        self.bench.work()

    def passages(self, principal: Principal) -> str:
        """Every passage that somebody reads."""
        return "\n".join(each.text for each in self.bench.desk.corpus.chunks(principal, ID))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A handbook that everybody reads, but for its section on pay: ada is in hr, bo is not, sven owns it."""
    with (
        open_bench(tmp_path / "state") as bench,
        TestClient(bench.app, "http://127.0.0.1:8080", raise_server_exceptions=False) as client,
    ):
        bench.user("ada", "hr")
        bench.user("bo")
        bench.user("sven")
        bench.source(SOURCE, "sven")
        bench.push(SOURCE, NAME, TEXT, OPEN, title="Handbook", sections=(RULE,))
        bench.work()
        yield Desk(bench, client)


def assert_hidden(told: Any) -> None:
    """Nothing of the section stands in a reply."""
    said = told if isinstance(told, str) else json.dumps(told)
    assert not [word for word in HIDDEN if word.lower() in said.lower()], said


def found_in_index(desk: Desk, principal: Principal) -> Legs:
    """What the index alone gives somebody, before anything is checked again."""
    with desk.bench.desk.indexes.answering() as opened:
        vector = opened.encoders.embedder.embed_query("in a year")
        sparse = opened.encoders.sparse.encode_query("year", languages=["en"])
        return opened.index.search(IndexQuery(filter_for(principal, outdated=()), vector, sparse, 10))


def test_search_finds_the_rest_only(desk: Desk) -> None:
    """Hits, highlights, headings and facets come from what may be read, in every mode."""
    for mode in ("hybrid", "dense", "sparse"):
        body = {"query": "in a year", "mode": mode, "group_by_document": False, "explain": True}
        for_bo, for_ada = (desk.ask(who, "POST", "/api/v1/search", body).json() for who in ("bo", "ada"))
        assert [hit["text"] for hit in for_bo["hits"]] == [LEAVE]
        assert_hidden(for_bo)
        assert {hit["text"] for hit in for_ada["hits"]} >= {LEAVE, PAY}


def test_search_for_the_section_alone_finds_nothing_of_the_document(desk: Desk) -> None:
    """Nor is the document counted in a facet."""
    body = {"query": "ducats", "mode": "sparse"}
    found = desk.ask("bo", "POST", "/api/v1/search", body).json()
    assert found["hits"] == []
    assert found["facets"]["source"] == {}
    assert desk.ask("ada", "POST", "/api/v1/search", body).json()["facets"]["source"] == {SOURCE: 1}


def test_answers_and_prompts_have_none_of_it(desk: Desk) -> None:
    """Neither the model's nor extracts; hr gets them."""
    for mode in ("auto", "extractive"):
        body = {"question": "How many ducats do the directors earn in a year?", "mode": mode}
        reply = desk.ask("bo", "POST", "/api/v1/answers", body).json()
        assert_hidden([reply["answer"], reply["citations"], reply["references"]])
    prompts = [message.content for request in desk.bench.model.requests for message in request.messages]
    assert "four hundred ducats" not in "\n".join(prompts)
    reply = desk.ask("ada", "POST", "/api/v1/answers", {**body, "mode": "extractive"}).json()
    assert "ducats" in reply["answer"]


def test_chat_completions_have_none_of_it(desk: Desk) -> None:
    """The OpenAI-compatible route says no more."""
    body = {"messages": [{"role": "user", "content": "What is a good year?"}]}
    assert_hidden(desk.ask("bo", "POST", "/v1/chat/completions", body).json())


def test_passages_are_listed_without_it(desk: Desk) -> None:
    """However small the pages are, all that may be read comes and nothing else."""
    desk.push(f"{TEXT}\n\n# Handbook / Travel\n{LEAVE} By train.")
    for who, count in (("bo", 2), ("ada", 4), ("sven", 4)):
        texts: list[str] = []
        start: int | None = 0
        while start is not None:
            page = desk.get(who, f"/chunks?limit=1&start={start}")
            texts += [each["text"] for each in page["chunks"]]
            start = page["next_start"]
        assert len(texts) == count
    assert_hidden(desk.get("bo", "/chunks"))


def test_the_whole_text_is_for_those_who_read_all_of_it(desk: Desk) -> None:
    """Others are told that only parts may be read, and nothing of what they are called."""
    reply = desk.ask("bo", "GET", f"/api/v1/documents/{ID}/text")
    assert (reply.status_code, reply.json()["code"]) == (403, "parts_only")
    assert_hidden(reply.text)
    for who in ("ada", "sven"):
        assert PAY in desk.get(who, "/text")["text"]


def test_records_versions_and_history_tell_nothing_of_it(desk: Desk) -> None:
    """A hash of the whole lets somebody try out what the rest says; counts say how much there is."""
    for path in ("", "/versions", "/history"):
        assert_hidden(desk.get("bo", path))
    assert desk.get("bo")["parts_only"] is True
    assert desk.get("ada")["parts_only"] is False
    (version,) = desk.get("bo", "/versions")["versions"]
    assert (version["content_hash"], version["n_chunks"]) == ("", None)
    (version,) = desk.get("ada", "/versions")["versions"]
    assert len(version["content_hash"]) == 64
    assert version["n_chunks"] == 3
    assert {(job["done"], job["total"]) for job in desk.get("bo", "/history")["jobs"]} == {(0, 0)}


def test_counts_are_of_what_may_be_read(desk: Desk) -> None:
    """The passages of `status`."""
    counted = {who: desk.ask(who, "GET", "/api/v1/status").json()["passages"] for who in desk.keys}
    assert counted == {"ada": 3, "bo": 1, "sven": 3}


def test_old_links_and_citations_lose_it(desk: Desk) -> None:
    """What was cited while it was open is gone with the rule, on the very next request."""
    desk.share()
    desk.bench.work()
    cited = desk.bench.desk.search.search(Query("directors ducats"), BO).hits[0].passage.chunk_id
    assert "ducats" in desk.passages(BO)
    desk.share({"heading": ["Pay zqsecret"], "allow": ["hr"]})  # the index does not know yet
    assert cited not in {each["chunk_id"] for each in desk.get("bo", "/chunks")["chunks"]}
    assert_hidden([hit.passage.text for hit in desk.bench.desk.search.search(Query("ducats"), BO).hits])
    assert "ducats" in desk.passages(ADA)


def test_points_are_written_with_the_list_of_their_section(desk: Desk) -> None:
    """From the first moment on: whoever builds an index anew writes no point that more people find."""
    with desk.bench.desk.indexes.answering() as opened:
        opened.index.delete(list(opened.index.chunk_ids()))
    desk.bench.toolbox.indexer.reconcile()
    legs = found_in_index(desk, BO)
    assert len(legs.dense) == len(legs.sparse) == 1


def test_the_index_hears_of_rules_without_embedding(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the lists of the points change, each to that of its own chunk."""

    def refuse(*_: object) -> None:
        raise AssertionError("a text was embedded")

    with desk.bench.desk.indexes.answering() as opened:
        monkeypatch.setattr(type(opened.encoders.embedder), "embed_documents", refuse)
    for sections, count in (((), 3), (({"heading": ["Leave"]},), 2), (({"heading": ["Handbook"]},), 0)):
        desk.share(*sections)
        desk.bench.work()
        assert len(found_in_index(desk, BO).dense) == count


def test_a_heading_further_out_than_is_shown_counts(desk: Desk) -> None:
    """Of five headings a passage shows four; a rule for the outermost one reaches it all the same."""
    (deep,) = [each for each in desk.bench.desk.corpus.chunks(SVEN, ID) if each.text == BONUS]
    assert deep.heading_path == ("Pay zqsecret", "Bonus", "Rules", "Exceptions")
    desk.share({"heading": ["Handbook"], "allow": ["hr"]})
    assert desk.passages(BO) == ""


def test_passages_from_before_full_paths_were_kept_are_closed(desk: Desk) -> None:
    """Four headings may have had others above them: any rule may be meant, until the document is read anew."""
    desk.share({"heading": ["Leave"], "allow": ["hr"]})
    assert BONUS in desk.passages(BO)
    with desk.bench.desk.database.write() as session:
        session.query(ChunkRow).update({"section_paths": None})
    assert BONUS not in desk.passages(BO)
    assert PAY in desk.passages(BO)


def test_a_vanished_heading_closes_the_text_until_its_owner_confirms(desk: Desk) -> None:
    """Renaming a heading opens nothing; whoever passes the rule reads on."""
    desk.push(TEXT.replace("Pay zqsecret", "Salaries zqsecret"))
    assert desk.passages(BO) == ""
    assert desk.ask("bo", "GET", f"/api/v1/documents/{ID}/text").status_code == 403
    assert "ducats" in desk.passages(ADA)
    record = desk.get("sven")
    assert record["acl"]["sections"][0]["standing"] == "lost"
    assert "section_lost" in record["warnings"]
    assert "section_lost" not in desk.get("bo")["warnings"]
    rule = {"heading": ["Pay zqsecret"], "allow": ["hr"]}
    renamed = {"heading": ["Salaries zqsecret"], "allow": ["hr"]}
    assert desk.share(rule, renamed)["warnings"] == [
        "section_lost"
    ]  # sent back as it was: nobody has confirmed it
    assert desk.passages(BO) == ""
    told = desk.share({**rule, "confirmed": True}, renamed)
    assert told["warnings"] == ["section_absent"]
    assert [each["standing"] for each in told["acl"]["sections"]] == ["absent", "found"]
    assert desk.passages(BO) == LEAVE
    desk.push(TEXT)  # the confirmed rule counts again, the other heading is lost
    assert desk.passages(BO) == ""
    assert desk.share(rule)["warnings"] == []
    assert desk.passages(BO) == LEAVE


def test_a_rule_for_an_absent_heading_waits_for_it(desk: Desk) -> None:
    """Its owner is warned; nothing is closed, and a later text that has the heading is narrowed."""
    told = desk.share({"heading": ["Mergers"], "allow": ["hr"]})
    assert told["warnings"] == ["section_absent"]
    assert "ducats" in desk.passages(BO)
    desk.push(f"{TEXT}\n\n# Mergers\nOstrel is bought.")
    assert "Ostrel" not in desk.passages(BO)
    assert "ducats" in desk.passages(BO)
    assert "Ostrel" in desk.passages(ADA)


def test_a_pushed_rule_that_fits_nothing_closes_the_text(desk: Desk) -> None:
    """A misspelt heading is no opening; pushing it right is one."""
    desk.push(TEXT, SectionRule(("Pai",), HR))
    assert desk.passages(BO) == ""
    desk.push(TEXT, RULE)
    assert desk.passages(BO) == LEAVE


def test_rules_of_the_old_text_stay_until_the_new_one_is_live(desk: Desk) -> None:
    """A push without them lets nobody in to the text that is live."""
    desk.bench.push(SOURCE, NAME, f"# Leave\n{LEAVE}", None, sections=())
    assert_hidden(desk.passages(BO))
    desk.bench.work()
    assert desk.passages(BO) == LEAVE
    assert desk.get("bo")["parts_only"] is False


def test_rules_set_by_hand_stay_whatever_is_pushed(desk: Desk) -> None:
    """As the document's list does."""
    desk.share({"heading": ["Leave"]})
    desk.push(TEXT, RULE)
    assert LEAVE not in desk.passages(BO)
    assert "ducats" in desk.passages(BO)


def test_sections_left_out_stay(desk: Desk) -> None:
    """Setting the list alone, by hand or with a push, opens no section."""
    body = {"allow": ["everyone"]}
    assert desk.ask("sven", "PUT", f"/api/v1/documents/{ID}/acl", body).status_code == 202
    assert desk.passages(BO) == LEAVE
    assert desk.passages(ADA).count("year") == 3
    desk.push(TEXT.replace("thirty", "forty"))
    assert "forty" in desk.passages(BO)
    assert_hidden(desk.passages(BO))


def test_what_is_found_inside_needs_every_section(desk: Desk) -> None:
    """An attachment may belong to any of them."""
    inside = DocumentId(document_id_for(SOURCE, f"{NAME}!/annex.txt"))
    desk.push(f"{TEXT}{INSIDE}annex.txt\n{PAY}")
    assert desk.ask("bo", "GET", f"/api/v1/documents/{inside}").status_code == 404
    assert desk.ask("ada", "GET", f"/api/v1/documents/{inside}").status_code == 200
    desk.share()
    desk.bench.work()
    assert desk.ask("bo", "GET", f"/api/v1/documents/{inside}").status_code == 200
    desk.share({"heading": ["Leave"], "allow": ["hr"]})
    assert desk.ask("bo", "GET", f"/api/v1/documents/{inside}").status_code == 404


def test_access_explain_tells_sections_to_those_who_set_them(desk: Desk) -> None:
    """A reader hears that it may not read all; the owner hears which section, of everybody."""
    body = {"user_id": "bo", "document_id": ID}
    own = desk.ask("bo", "POST", "/api/v1/access/explain", body).json()
    assert (own["may_read"], own["reads_whole"], own["sections"]) == (True, False, [])
    told = desk.ask("sven", "POST", "/api/v1/access/explain", body).json()
    assert told["sections"] == [{"heading": ["Pay zqsecret"], "may_read": False}]
    told = desk.ask("sven", "POST", "/api/v1/access/explain", {**body, "user_id": "ada"}).json()
    assert (told["reads_whole"], told["sections"][0]["may_read"]) == (True, True)


def test_only_the_owner_sets_rules(desk: Desk) -> None:
    """Readers are refused, and see no access list."""
    body = {"allow": ["everyone"], "sections": []}
    assert desk.ask("ada", "PUT", f"/api/v1/documents/{ID}/acl", body).status_code == 403
    assert desk.get("ada")["acl"] is None
    assert_hidden(desk.passages(BO))


def test_rules_come_with_a_json_push_and_with_a_form(desk: Desk) -> None:
    """`sections` is part of both; what is confirmed unseen is refused."""
    rule = {"heading": ["Leave"], "allow": ["hr"]}
    body = {"source_id": SOURCE, "external_id": NAME, "text": TEXT, "sections": [rule]}
    assert desk.ask("sven", "PUT", "/api/v1/documents", body).status_code == 202
    assert desk.get("sven")["acl"]["sections"][0]["heading"] == ["Leave"]
    refused = {**body, "sections": [{**rule, "confirmed": True}]}
    assert desk.ask("sven", "PUT", "/api/v1/documents", refused).status_code == 422
    form = {"source_id": SOURCE, "external_id": "other.txt", "sections": json.dumps([rule])}
    reply = desk.client.put(
        "/api/v1/documents",
        data=form,
        files={"file": ("other.txt", TEXT)},
        headers={"Authorization": f"Bearer {desk.keys['sven']}"},
    )
    assert reply.status_code == 202, reply.text
    record = desk.bench.desk.corpus.record(DocumentId(reply.json()["document_id"]))
    assert record.sections == (SectionRule(("Leave",), HR, standing=Standing.AWAITED),)


@pytest.mark.parametrize("heading", [[], [""], ["  "], ["Pay", "\0"]])
def test_a_rule_names_a_heading(desk: Desk, heading: list[str]) -> None:
    """A rule without one would be a rule for everything."""
    body = {"allow": ["everyone"], "sections": [{"heading": heading}]}
    assert desk.ask("sven", "PUT", f"/api/v1/documents/{ID}/acl", body).status_code == 422


def test_the_new_rules_are_on_record(desk: Desk) -> None:
    """With whom they name, where that can be erased."""
    desk.share({"heading": ["Leave"], "allow": ["user:bo"]})
    newest = desk.bench.desk.audit.records(after=0, limit=100)[-1]
    assert newest.event == "document.acl"
    assert newest.facts["sections"] == [{"heading": ["Leave"], "allow": ["user:bo"], "deny": []}]
    assert "sections" not in newest.body


def test_erasing_a_person_takes_it_out_of_rules_and_leaves_the_rules(desk: Desk) -> None:
    """The rule stays, a heading that reads like the person's id too, and the index is told anew."""
    desk.share({"heading": ["Leave"], "allow": ["user:bo", "hr"]}, {"heading": ["bo"], "deny": ["user:bo"]})
    desk.bench.work()
    erasing = SqlErasing(desk.bench.desk.database, utc_now)
    survey = {place.column: count for place, count in erasing.survey(UserId("bo")).items()}
    assert survey["documents.section_rules"] == 1
    erasing.erase(UserId("bo"), heir=None, principal="sven")
    assert "documents.section_rules" not in {place.column for place in erasing.survey(UserId("bo"))}
    rules = desk.bench.desk.corpus.record(ID).sections
    assert [(rule.heading, rule.allow, rule.deny) for rule in rules] == [
        (("Leave",), HR, frozenset()),
        (("bo",), frozenset(), frozenset()),
    ]
    with desk.bench.desk.database.read() as session:
        row = session.get_one(DocumentRow, ID)
        assert row.acl_epoch != row.indexed_acl_epoch
    assert user_principal(UserId("bo")) not in rules[0].allow


def preview(desk: Desk, who: str, user: str) -> set[str]:
    """Texts that somebody is shown as what a user would find."""
    body = {"user_id": user, "query": "in a year", "group_by_document": False}
    reply = desk.ask(who, "POST", "/api/v1/search/preview", body)
    assert reply.status_code == 200, reply.text
    return {hit["text"] for hit in reply.json()["hits"]}


def test_a_preview_shows_the_parts_that_both_read(desk: Desk) -> None:
    """An owner all of what the user finds, but no part that a rule denies the owner through a group."""
    assert preview(desk, "sven", "bo") == {LEAVE}
    assert preview(desk, "sven", "ada") == {LEAVE, PAY, BONUS}
    assert preview(desk, "ada", "sven") == set()
    desk.share({"heading": ["Pay zqsecret"], "allow": ["hr"], "deny": ["user:sven"]})
    assert preview(desk, "sven", "ada") == {LEAVE, PAY, BONUS}
    desk.bench.user("sven", "board")
    desk.share({"heading": ["Pay zqsecret"], "allow": ["hr"], "deny": ["board"]})
    assert preview(desk, "sven", "ada") == {LEAVE}


def test_a_group_in_doubt_lets_nobody_in_to_a_section_and_still_shuts_out(desk: Desk) -> None:
    """As in the list of a document."""
    desk.bench.doubt("hr", is_in_doubt=True)
    assert desk.get("ada")["parts_only"] is True
    assert {each["text"] for each in desk.get("ada", "/chunks")["chunks"]} == {LEAVE}
    desk.share({"heading": ["Pay zqsecret"], "allow": ["everyone"], "deny": ["hr"]})
    for who, told in (("ada", {LEAVE}), ("bo", {LEAVE, PAY, BONUS})):
        assert {each["text"] for each in desk.get(who, "/chunks")["chunks"]} == told


def test_linked_ids_count_in_section_rules(desk: Desk) -> None:
    """What a rule says of somebody's other id it says of the person, as long as it is linked."""
    links = SqlLinks(desk.bench.desk.database, utc_now)
    links.link(UserId("bo"), "oidc", "b-1")
    desk.share({"heading": ["Pay zqsecret"], "allow": ["user:oidc:b-1"]})
    assert desk.get("bo")["parts_only"] is False
    desk.share({"heading": ["Pay zqsecret"], "allow": ["everyone"], "deny": ["user:oidc:b-1"]})
    assert desk.get("bo")["parts_only"] is True
    links.unlink(UserId("bo"), "oidc", "b-1")
    assert desk.get("bo")["parts_only"] is False


def test_what_is_outdated_or_disabled_reads_no_part(desk: Desk) -> None:
    """Its owner hears that first, also one who would read parts only; the explanation and the counts say it."""
    desk.bench.user("sven", "board")
    desk.share({"heading": ["Pay zqsecret"], "allow": ["hr"], "deny": ["board"]})
    assert desk.ask("sven", "GET", f"/api/v1/documents/{ID}/text").json()["code"] == "parts_only"
    explain = ("/api/v1/access/explain", {"user_id": "ada", "document_id": ID})
    assert desk.ask("sven", "POST", *explain).json()["sections"][0]["may_read"] is True
    desk.bench.let_permissions_age(SOURCE)
    for path in ("/text", "/chunks"):
        reply = desk.ask("sven", "GET", f"/api/v1/documents/{ID}{path}")
        assert (reply.status_code, reply.json()["code"]) == (409, "permissions_outdated")
        assert desk.ask("ada", "GET", f"/api/v1/documents/{ID}{path}").status_code == 404
    told = desk.ask("sven", "POST", *explain).json()
    assert (told["may_read"], told["reads_whole"], told["sections"][0]["may_read"]) == (False, False, False)
    assert {desk.ask(who, "GET", "/api/v1/status").json()["passages"] for who in desk.keys} == {0}
    desk.bench.refresh_permissions(SOURCE, breaks_off=False)
    assert desk.passages(BO) == LEAVE
    desk.bench.user("ada", "hr", disabled_at=utc_now())
    told = desk.ask("sven", "POST", *explain).json()
    assert (told["may_read"], told["reads_whole"], told["sections"][0]["may_read"]) == (False, False, False)


def test_labels_keep_out_of_the_prompt_what_of_the_parts_may_be_read(desk: Desk) -> None:
    """How many passages a label kept out counts parts that the asker reads."""
    labels = desk.ask("sven", "PUT", f"/api/v1/documents/{ID}/labels", {"labels": ["no-ai"]})
    assert labels.status_code == 200, labels.text
    for who, count in (("bo", 1), ("ada", 3)):
        body = {"question": "What is paid, earned and left in a year?", "mode": "auto"}
        reply = desk.ask(who, "POST", "/api/v1/answers", body).json()
        assert (reply["withheld"], reply["references"]) == (count, [])
    assert desk.bench.model.requests == []
