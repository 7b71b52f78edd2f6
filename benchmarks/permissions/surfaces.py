"""Every route that shows something of the corpus, asked in every way that makes it talk.

`SURFACES` and `SILENT` together hold every route of the application; a new one fails a test until it is in one
of them (tests/leaks/test_differential.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from benchmarks.permissions.judging import Judge
from benchmarks.permissions.matrix import DIRECTORY, ROUTES, SCIM
from benchmarks.permissions.oracle import PERIODS_DAYS, Paper, Part
from benchmarks.permissions.world import Viewer
from retrieval.access import Principal, PrincipalId, UserId, filter_for
from retrieval.corpus import DocumentId
from retrieval.ports import IndexQuery
from retrieval.query import SearchMode

Surface = Callable[[Judge], None]
Narrowing = tuple[Any, Callable[[Paper], bool]]
"""What is asked for, and which papers fit it."""

_DOCUMENT = "/api/v1/documents/{document_id}"
_PREVIEW = "/api/v1/search/preview"
_MOST = 200


def _ask(judge: Judge, method: str, path: str, body: Any = None, *, by_prompt: bool = False) -> Any:
    """One request, searched for what may not be told; None when the viewer does not come in."""
    world = judge.world
    reply = world.ask(judge.viewer, method, path, body)
    judge.report.requests += 1
    if judge.viewer.person in world.organisation.disabled:
        refused = 403 if judge.viewer.acts else 401
        judge.check(reply.status_code == refused, f"{judge.viewer} is disabled, and gets {reply.status_code}")
        judge.told(reply.text, sent=body)
        return None
    judge.check(reply.status_code < 500, f"{method} {path}: {reply.text[:200]}")
    judge.told(reply.text + str(dict(reply.headers)), sent=[path, body], by_prompt=by_prompt)
    refusals = ["unauthenticated"] if path == _PREVIEW else ["unauthenticated", "unknown_user"]
    comes_in = not any(f"refdesk:error:{code}" in reply.text for code in refusals)
    judge.check(comes_in, f"{judge.viewer} does not come in", n=0)
    return reply if comes_in else None


def _papers(judge: Judge) -> list[Paper]:
    return judge.world.organisation.papers


def _any_paper(judge: Judge) -> Paper:
    return judge.world.dice.choice(_papers(judge))


def _paper_in_parts(judge: Judge) -> Paper:
    """A paper that more often than not has rules for its parts, so that few questions meet them."""
    ruled = [paper for paper in _papers(judge) if paper.rules() and paper.live is not None]
    return judge.world.dice.choice(ruled) if ruled and judge.world.dice.random() < 0.7 else _any_paper(judge)


def _live(judge: Judge) -> list[Paper]:
    """Papers whose text anybody is shown now."""
    return [paper for paper in _papers(judge) if judge.world.organisation.is_shown(paper)]


def _words_of(judge: Judge, paper: Paper) -> str:
    """A sentence of a paper, or its title: words that find it, if anything does."""
    text = paper.live or paper.sent
    said = " ".join(words for _, words in text.parts) if text else paper.title
    sentences = said.split(". ")
    return judge.world.dice.choice(sentences).rstrip(".")[:300]


# --- search and answers


def search(judge: Judge) -> None:
    """Everything that may be found is, once the index has heard of it, and nothing else; facets count that."""
    dice, paper = judge.world.dice, _any_paper(judge)
    query = {"query": _words_of(judge, paper), "limit": _MOST, "explain": dice.random() < 0.5}
    mode = dice.choice(("hybrid", "dense", "sparse"))
    grouped = dice.random() < 0.7
    reply = _ask(judge, "POST", "/api/v1/search", {**query, "mode": mode, "group_by_document": grouped})
    if reply is None:
        return
    found = reply.json()
    shown = {hit["document_id"] for hit in found["hits"]}
    judge.listing(shown, _live(judge), whole=mode != "sparse" and judge.world.is_in_step, by_text=True)
    surely = judge.world.organisation.parts(judge.viewer.person, paper, surely=True)
    if judge.world.is_in_step and any(str(query["query"]) in words for _, words in surely):
        judge.check(paper.document_id in shown, f"does not find {paper.path} by its words")
    for name in ("source", "type", "language"):
        counted = sum(found["facets"][name].values())
        judge.check(counted == len(shown), f"facet {name} counts {counted} of {len(shown)}")


def narrowed_search(judge: Judge) -> None:
    """A filter never widens: ids, folders, sources and tags of hidden documents find nothing."""
    dice, paper = judge.world.dice, _any_paper(judge)
    others = [each.document_id for each in dice.sample(_papers(judge), min(5, len(_papers(judge))))]
    narrowings: list[Narrowing] = [
        ({"documents": others}, lambda each: each.document_id in others),
        ({"documents": [paper.document_id]}, lambda each: each is paper),
        ({"sources": [paper.source]}, lambda each: each.source == paper.source),
        ({"tags": [paper.tag]}, lambda each: each.tag == paper.tag),
        ({"path_prefix": paper.path}, lambda each: each.path.startswith(paper.path)),
    ]
    narrowing, fits = dice.choice(narrowings)
    body = {"query": _words_of(judge, paper), "limit": _MOST, "filters": narrowing}
    reply = _ask(judge, "POST", "/api/v1/search", body)
    if reply is not None:
        shown = {hit["document_id"] for hit in reply.json()["hits"]}
        fitting = [each for each in _live(judge) if fits(each)]
        judge.listing(shown, fitting, whole=judge.world.is_in_step, by_text=True)


def preview(judge: Judge) -> None:
    """A preview finds what the other person finds of what the asker owns; an administrator's, all of that."""
    world, viewer = judge.world, judge.viewer
    organisation, dice = world.organisation, world.dice
    person, paper = dice.choice(sorted(organisation.groups_of)), _any_paper(judge)
    body = {"user_id": person, "query": _words_of(judge, paper), "limit": _MOST}
    before = world.bench.desk.audit.head()
    if viewer.is_admin:
        reply = world.ask(viewer, "POST", _PREVIEW, body)
        judge.viewer = Viewer(person)  # it is told what this person may be told
        judge.told(reply.text, sent=[_PREVIEW, body])
    else:
        reply = _ask(judge, "POST", _PREVIEW, body)
    if reply is None:
        return
    if person in organisation.disabled | organisation.unknown:
        _judge_nobody(judge, reply, viewer)
        return
    hits = reply.json()["hits"]
    if viewer.is_admin:
        judge.listing(
            {hit["document_id"] for hit in hits}, _live(judge), whole=world.is_in_step, by_text=True
        )
    else:
        _judge_own(judge, viewer.person, person, hits)
    _judge_record(judge, viewer.person, person, hits, after=before.sequence if before else 0)


def _judge_own(judge: Judge, viewer: str, person: str, hits: Any) -> None:
    """Parts of what the asker owns that both read, and something of each paper that has such parts."""
    organisation = judge.world.organisation

    def read_by_both(paper: Paper, *, surely: bool = False) -> list[Part]:
        theirs = organisation.parts(person, paper, surely=surely)
        return [part for part in organisation.parts(viewer, paper, surely=surely) if part in theirs]

    owned = [each for each in _live(judge) if organisation.may_as_owner(viewer, each)]
    allowed = {each.document_id: read_by_both(each) for each in owned}
    needed = {each.document_id for each in owned if read_by_both(each, surely=True)}
    wrong = [hit for hit in hits if judge.part(hit["chunk_id"]) not in allowed.get(hit["document_id"], ())]
    lacking = needed - {hit["document_id"] for hit in hits}
    judge.check(not wrong, f"a preview as {person} shows {wrong}", n=len(_papers(judge)))
    judge.check(not judge.world.is_in_step or not lacking, f"a preview lacks {lacking}", n=0)


def _judge_nobody(judge: Judge, reply: Any, viewer: Viewer) -> None:
    """A user who cannot come in: said to those who own something, or look after the desk; others find nothing."""
    organisation = judge.world.organisation
    if viewer.is_admin or any(
        organisation.must(viewer.person, each) and organisation.may_as_owner(viewer.person, each)
        for each in _papers(judge)
    ):
        judge.check(reply.status_code == 403, f"a preview of nobody: {reply.status_code}")
    elif not any(organisation.may_as_owner(viewer.person, each) for each in _papers(judge)):
        judge.check(reply.status_code == 200 and not reply.json()["hits"], "tells who is disabled or unknown")


def _judge_record(judge: Judge, viewer: str, person: str, hits: Any, *, after: int) -> None:
    """A preview is on record, with who looked as whom, and what was seen."""
    records = judge.world.bench.desk.audit.records(after=after, limit=10)
    noted = [each for each in records if (each.event, each.principal) == ("preview", viewer)]
    judge.check(len(noted) == 1, f"a preview by {viewer} has {len(noted)} records")
    for record in noted:
        seen = [each["chunk_id"] for each in record.facts["chunks"]]
        is_told = (record.facts["user_id"], seen) == (person, [hit["chunk_id"] for hit in hits])
        judge.check(is_told, "the record of a preview says something else", n=0)


def _asked(judge: Judge) -> tuple[str, str]:
    """A question that carries a word of its asker's own, and a conversation that others use too."""
    word = judge.world.token()
    judge.askers[word] = judge.viewer.person
    question = f"{word}: {_words_of(judge, _any_paper(judge))}"
    judge.said[judge.viewer.person].append(question)
    return question, judge.world.dice.choice(("one", "two"))


def _judge_prompts(judge: Judge) -> None:
    """What entered prompts is what the asker may read and has said; equal salts are for equal readers."""
    said = judge.said[judge.viewer.person]
    for request in judge.world.bench.model.requests:
        judge.told("\n".join(message.content for message in request.messages), sent=said, by_prompt=True)
        organisation, person = judge.world.organisation, judge.viewer.person
        names = (organisation.names(person), organisation.names_against(person))
        known = judge.salts.setdefault(request.cache_salt, names)
        judge.check(known == names, "a prompt cache is shared by people who read different documents")
    judge.world.bench.model.requests.clear()


def answers(judge: Judge) -> None:
    """References, citations, text and prompt of an answer come from what may be read."""
    question, conversation = _asked(judge)
    dice = judge.world.dice
    body = {
        "question": question,
        "conversation_id": conversation,
        "mode": dice.choice(("auto", "auto", "extractive")),
        "stream": dice.random() < 0.4,
    }
    reply = _ask(judge, "POST", "/api/v1/answers", body, by_prompt=True)
    _judge_prompts(judge)
    if reply is None:
        return
    if body["stream"]:
        answer = json.loads(re.findall(r"event: done\ndata: (.*)", reply.text)[-1])
    else:
        answer = reply.json()
    promptable = [each for each in _live(judge) if judge.world.organisation.may_be_prompted(each)]
    for part in ("references", "citations"):
        cited = {each["document_id"] for each in answer[part]}
        judge.listing(cited, promptable, whole=False, by_text=True)
    organisation, person = judge.world.organisation, judge.viewer.person
    most = sum(len(organisation.parts(person, each)) for each in _labelled(judge))
    judge.check(answer["withheld"] <= most, f"{answer['withheld']} passages withheld, not {most}")


def _labelled(judge: Judge) -> list[Paper]:
    """Papers that the viewer reads and that may not enter a prompt."""
    organisation = judge.world.organisation
    readable = organisation.readable(judge.viewer.person)
    return [paper for paper in readable if paper.live and not organisation.may_be_prompted(paper)]


def chat(judge: Judge) -> None:
    """So do those of a chat completion; what an answer said before, as its client has it, comes back nowhere."""
    question, _ = _asked(judge)
    before = judge.world.dice.choice(_labelled(judge) or _papers(judge))
    messages = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": before.live.body if before.live else "Nothing."},
        {"role": "user", "content": question},
    ]
    body = {"messages": messages, "stream": judge.world.dice.random() < 0.4}
    _ask(judge, "POST", "/v1/chat/completions", body, by_prompt=True)
    _judge_prompts(judge)


def ending(judge: Judge) -> None:
    """What ends soon is told of what may be read; an administrator is told how many others end."""
    reply = _ask(judge, "GET", "/api/v1/retention?days=5000&limit=1000")
    if reply is None:
        return
    organisation, shown = (
        judge.world.organisation,
        {each["document_id"] for each in reply.json()["documents"]},
    )
    ends = [each for each in _papers(judge) if _ends(judge, each)]
    judge.listing(shown, ends)
    judge.check((reply.json()["others"] is not None) == judge.viewer.is_admin, "counts what others read")
    judge.check(not any(organisation.has_ended(each) for each in ends), "what has ended is still to end")


def _ends(judge: Judge, paper: Paper) -> bool:
    """Whether its period ends at some time to come."""
    organisation = judge.world.organisation
    labels = organisation.labels(paper)
    classes = {label for label in labels if label.startswith("retention:")}
    is_to_end = bool(classes) and classes <= PERIODS_DAYS.keys() and "hold" not in labels
    return is_to_end and organisation.is_there(paper)


def models(judge: Judge) -> None:
    """The list of models tells nothing."""
    _ask(judge, "GET", "/v1/models")


def model(judge: Judge) -> None:
    """Nor does a model."""
    _ask(judge, "GET", "/v1/models/refdesk")


# --- documents


def documents(judge: Judge) -> None:
    """All pages together hold exactly what may be read, and the counts say as much."""
    dice, paper = judge.world.dice, _any_paper(judge)
    present = [each for each in _papers(judge) if not each.is_deleted]
    word = dice.choice((paper.title.split()[1] if paper.parent is None else paper.title, paper.tag, "paper"))
    narrowings: list[Narrowing] = [
        ("", lambda _: True),
        ("", lambda _: True),
        (f"&source={paper.source}", lambda each: each.source == paper.source),
        (f"&path={paper.path}", lambda each: each.path.startswith(paper.path)),
        (f"&q={word}", lambda each: word in each.title or word in each.path),
        ("&mine=true", lambda each: judge.world.organisation.owns(judge.viewer.person, each)),
    ]
    asks, fits = dice.choice(narrowings)
    limit, shown, cursor, counted = dice.choice((3, 7, 200)), [], "", 0
    while True:
        reply = _ask(judge, "GET", f"/api/v1/documents?limit={limit}&cursor={cursor}{asks}")
        if reply is None:
            return
        page = reply.json()
        shown += [each["id"] for each in page["documents"]]
        for each in page["documents"]:
            _judge_labels(judge, judge.paper(each["id"]), each)
        counted = sum(page["counts"].values())
        cursor = page["next_cursor"]
        if not cursor:
            break
    judge.check(len(shown) == len(set(shown)), "a document is listed twice")
    judge.listing(shown, [each for each in present if fits(each)])
    judge.check(counted == len(shown), f"counts {counted} of {len(shown)}")


def _judge_labels(judge: Judge, paper: Paper | None, shown: Any) -> None:
    """Whether a record tells the labels that count for a paper."""
    told = {each["name"] for each in shown["labels"]}
    labels = judge.world.organisation.labels(paper) if paper is not None else told
    judge.check(
        told == labels, f"{paper and paper.path} is labelled {sorted(told)}, not {sorted(labels)}", n=0
    )


def _judge_whole(judge: Judge, paper: Paper, *, is_whole: bool) -> None:
    """Whether the viewer is rightly told, or not told, that it reads every part of a paper."""
    organisation, person, rules = judge.world.organisation, judge.viewer.person, paper.over_all()
    may = organisation.may_below(person, paper, rules)
    judge.check(may or not is_whole, f"takes {paper.path} for readable as a whole")
    must = organisation.must_below(person, paper, rules)
    judge.check(is_whole or not must, f"takes {paper.path} for readable in parts", n=0)


def someone_elses_cursor(judge: Judge) -> None:
    """A page after any document, whoever saw that one, holds only what the viewer may read."""
    from serving.http.rendering import cursor_after  # the desk's own form of a cursor

    paper = _any_paper(judge)
    record = judge.world.bench.desk.corpus.record(DocumentId(paper.document_id))
    reply = _ask(judge, "GET", f"/api/v1/documents?limit=200&cursor={cursor_after(record)}")
    if reply is not None:
        shown = [each["id"] for each in reply.json()["documents"]]
        judge.listing(shown, [each for each in _papers(judge) if not each.is_deleted], whole=False)


def document(judge: Judge) -> None:
    """One document's record; it says whether all of it may be read, and what labels count for it."""
    paper = _paper_in_parts(judge)
    shown = _one(judge, _DOCUMENT, paper)
    if shown is not None:
        _judge_whole(judge, paper, is_whole=not shown["parts_only"])
        _judge_labels(judge, paper, shown)


def versions(judge: Judge) -> None:
    """Its versions; what tells of the whole is for those who may read it."""
    paper = _paper_in_parts(judge)
    shown = _one(judge, f"{_DOCUMENT}/versions", paper)
    for version in shown["versions"] if shown is not None else ():
        is_told = version["content_hash"] != "" or version["n_chunks"] is not None
        _judge_whole(judge, paper, is_whole=is_told)


def chunks(judge: Judge) -> None:
    """Its passages, page by page: those that may be read, and all of them."""
    paper, limit, start = _paper_in_parts(judge), judge.world.dice.choice((1, 2, 100)), 0
    organisation, person = judge.world.organisation, judge.viewer.person
    told: set[str] = set()
    while start is not None:
        reply = _words(judge, f"{_DOCUMENT}/chunks?limit={limit}&start={start}", paper)
        if reply is None:
            return
        told |= {each["text"] for each in reply.json()["chunks"]}
        start = reply.json()["next_start"]
    allowed = {words for _, words in organisation.parts(person, paper)}
    needed = {words for _, words in organisation.parts(person, paper, surely=True)}
    judge.check(told <= allowed, f"shows hidden parts of {paper.path}")
    judge.check(needed <= told, f"lacks parts of {paper.path}", n=0)


def history(judge: Judge) -> None:
    """Its history."""
    _one(judge, f"{_DOCUMENT}/history", _any_paper(judge))


def text(judge: Judge) -> None:
    """Its text as a whole; 409 says that there is none yet, 403 that only parts may be read."""
    paper = _paper_in_parts(judge)
    reply = _words(judge, f"{_DOCUMENT}/text", paper, found=(200, 403, 409))
    if reply is not None:
        _judge_whole(judge, paper, is_whole=reply.status_code != 403)


def _words(judge: Judge, path: str, paper: Paper, *, found: tuple[int, ...] = (200,)) -> Any:
    """The reply that has words of a document; None when there is none, rightly or not.

    Where the permission data are too old, its owner gets 409 in place of the words.
    """
    reply = _ask(judge, "GET", path.replace("{document_id}", paper.document_id))
    if reply is None:
        return None
    is_outdated = paper.source in judge.world.organisation.outdated
    is_shown = judge.one(reply, paper, found=(409,) if is_outdated else found)
    return reply if is_shown and not is_outdated else None


def _one(judge: Judge, path: str, paper: Paper) -> Any:
    """What is shown of a document; None when nothing is, rightly or not."""
    reply = _ask(judge, "GET", path.replace("{document_id}", paper.document_id))
    is_shown = reply is not None and judge.one(reply, paper)
    return reply.json() if is_shown else None


def explain(judge: Judge) -> None:
    """Why one reads a document is explained to readers; why others do, to its owner; and it is true."""
    paper, dice = _any_paper(judge), judge.world.dice
    person = dice.choice((judge.viewer.person, *sorted(judge.world.organisation.groups_of)))
    body = {"user_id": person, "document_id": paper.document_id}
    reply = _ask(judge, "POST", "/api/v1/access/explain", body)
    if reply is None or judge.viewer.is_admin:
        return
    organisation, viewer = judge.world.organisation, judge.viewer.person
    is_entitled = organisation.may(viewer, paper) and (viewer == person or organisation.owns(viewer, paper))
    judge.check(reply.status_code != 200 or is_entitled, f"explains {paper.path} for {person}")
    if reply.status_code == 200 and paper.is_settled:
        told = reply.json()
        reads = organisation.must(person, paper) and person not in organisation.disabled
        reads = reads and paper.source not in organisation.outdated
        judge.check(told["may_read"] == reads, f"says of {person} and {paper.path}: {not reads}")
        whole = reads and organisation.must_below(person, paper, paper.over_all())
        judge.check(told["reads_whole"] == whole, f"says of {person} and all of {paper.path}: {not whole}")
        is_owner = organisation.owns(viewer, paper)
        judge.check(not told["sections"] or is_owner, f"tells the sections of {paper.path}")
    hidden = not organisation.may(viewer, paper)
    judge.check(not hidden or reply.status_code == 404, f"{paper.path}: {reply.status_code}")


def attempts(judge: Judge) -> None:
    """Whoever may not manage a document changes nothing: 404 where it is hidden, else 403."""
    paper, organisation, viewer = _any_paper(judge), judge.world.organisation, judge.viewer
    if viewer.is_admin or (
        organisation.may(viewer.person, paper) and organisation.owns(viewer.person, paper)
    ):
        return
    method, tail, body = judge.world.dice.choice(
        [
            ("DELETE", "", None),
            ("POST", "/reindex", None),
            ("PUT", "/acl", {"allow": ["everyone"]}),
            ("PUT", "/labels", {"labels": ["hold"]}),
        ]
    )
    before = judge.world.bench.desk.corpus.record(DocumentId(paper.document_id))
    reply = _ask(judge, method, f"/api/v1/documents/{paper.document_id}{tail}", body)
    after = judge.world.bench.desk.corpus.record(DocumentId(paper.document_id))
    judge.check(before == after, f"{method} {paper.path}{tail} changed it")
    if reply is None:
        return
    knows, must = organisation.may(viewer.person, paper), organisation.must(viewer.person, paper)
    expected = {403} if must else {403, 404} if knows else {404}
    judge.check(reply.status_code in expected, f"{method} {paper.path}{tail}: {reply.status_code}")


# --- sources and jobs


def sources(judge: Judge) -> None:
    """Sources with something to read in them, or one's own, and how much that is."""
    reply = _ask(judge, "GET", "/api/v1/sources")
    if reply is None:
        return
    shown = {each["id"]: each for each in reply.json()["sources"]}
    for source, owner in judge.world.organisation.sources.items():
        inside = [each for each in _papers(judge) if each.source == source]
        is_mine = owner == judge.viewer.person or judge.viewer.is_admin
        _judge_source(judge, shown.get(source), inside, is_mine=is_mine)


def _judge_source(judge: Judge, shown: Any, inside: list[Paper], *, is_mine: bool) -> None:
    organisation, person = judge.world.organisation, judge.viewer.person
    if shown is None:
        needed = is_mine or any(organisation.must(person, each) for each in inside)
        judge.check(not needed, "a source is hidden")
        return
    allowed = is_mine or any(organisation.may(person, each) for each in inside)
    judge.check(allowed, f"shows the source {shown['id']}")
    judge.count(sum(shown["documents_by_state"].values()), inside, f"source {shown['id']}")
    judge.check(
        is_mine or (shown["location"], shown["acl"]) == (None, None), "tells where a source comes from"
    )


def source(judge: Judge) -> None:
    """One source."""
    name, owner = judge.world.dice.choice(sorted(judge.world.organisation.sources.items()))
    reply = _ask(judge, "GET", f"/api/v1/sources/{name}")
    if reply is not None:
        inside = [each for each in _papers(judge) if each.source == name]
        is_mine = owner == judge.viewer.person or judge.viewer.is_admin
        _judge_source(judge, reply.json() if reply.status_code == 200 else None, inside, is_mine=is_mine)


def runs(judge: Judge) -> None:
    """Runs are shown to the source's owner."""
    name, owner = judge.world.dice.choice(sorted(judge.world.organisation.sources.items()))
    reply = _ask(judge, "GET", f"/api/v1/sources/{name}/runs")
    if reply is not None:
        is_mine = owner == judge.viewer.person or judge.viewer.is_admin
        judge.check((reply.status_code == 200) == is_mine, f"runs of {name}: {reply.status_code}")


def jobs(judge: Judge) -> None:
    """Unfinished jobs that one asked for or whose document one owns, while one may read that."""
    if judge.viewer.is_admin:
        return
    reply = _ask(judge, "GET", "/api/v1/jobs?limit=200")
    if reply is None:
        return
    shown = {each["id"] for each in reply.json()["jobs"]}
    waiting = [job for job in judge.world.jobs.values() if not job.is_finished]
    for job in waiting:
        paper = judge.paper(job.document_id)
        concerned = judge.concerns(judge.viewer.person, job.id)
        judge.check(job.id not in shown or concerned, f"shows a job about {paper and paper.path}")
        settled = paper is not None and paper.is_settled and judge.world.organisation.is_there(paper)
        judge.check(job.id in shown or not (concerned and settled), "hides a job", n=0)


def job(judge: Judge) -> None:
    """One job, finished or not."""
    _one_job(judge, "/api/v1/jobs/{job_id}")


def job_events(judge: Judge) -> None:
    """Its progress."""
    _one_job(judge, "/api/v1/jobs/{job_id}/events?limit_s=0.1")


def _one_job(judge: Judge, path: str) -> None:
    if judge.viewer.is_admin or not judge.world.jobs:
        return
    paper = _any_paper(judge)
    known = [each for each in judge.world.jobs.values() if each.document_id == paper.document_id]
    if not known:
        return
    about = judge.world.dice.choice(known)
    if "events" in path and not about.is_finished:
        return  # it would wait for the end
    reply = _ask(judge, "GET", path.replace("{job_id}", about.id))
    if reply is None:
        return
    concerned = judge.concerns(judge.viewer.person, about.id)
    judge.check(reply.status_code in (200, 404), f"a job: {reply.status_code}")
    judge.check(concerned or reply.status_code == 404, f"shows a job about {paper.path}", n=0)
    judge.check(not (concerned and paper.is_settled) or reply.status_code == 200, "hides a job", n=0)


def reindex_own(judge: Judge) -> None:
    """Reading one's own documents anew counts one's own, and says the same of a source that is not there."""
    if judge.viewer.is_admin:
        return
    paper = _any_paper(judge)
    narrowings: list[Narrowing] = [
        ({"path": paper.path}, lambda each: each.path == paper.path),
        ({"source_id": paper.source, "path": "nowhere"}, lambda _: False),
    ]
    narrowing, fits = judge.world.dice.choice(narrowings)
    reply = _ask(judge, "POST", "/api/v1/documents/reindex", narrowing)
    if reply is None:
        return
    told = reply.json()
    counted = told["queued"] + told["already_queued"] + told["paused"]
    organisation, person = judge.world.organisation, judge.viewer.person
    own = [each for each in _papers(judge) if fits(each) and organisation.owns(person, each)]
    judge.count(counted, own, "re-indexed")
    judge.turn()


# --- where the desk stands


def status(judge: Judge) -> None:
    """Counts of documents, passages and jobs cover what may be read."""
    reply = _ask(judge, "GET", "/api/v1/status")
    if reply is not None:
        _judge_status(judge, reply.json())


def status_events(judge: Judge) -> None:
    """So do those of the stream."""
    reply = _ask(judge, "GET", "/api/v1/status/events?limit_s=0.1")
    if reply is not None:
        _judge_status(judge, json.loads(re.findall(r"event: progress\ndata: (.*)", reply.text)[-1]))


def _judge_status(judge: Judge, told: Any) -> None:
    organisation, person = judge.world.organisation, judge.viewer.person
    present = [each for each in _papers(judge) if not each.is_deleted]
    judge.count(sum(told["documents_by_state"].values()), present, "documents")
    least = sum(len(organisation.parts(person, each, surely=True)) for each in _live(judge))
    most = sum(len(organisation.parts(person, each)) for each in _live(judge))
    judge.check(least <= told["passages"] <= most, f"passages: {told['passages']}, not {least} to {most}")
    waiting = [each for each in judge.world.jobs.values() if not each.is_finished]
    concerned = sum(judge.concerns(person, each.id) for each in waiting)
    if not judge.viewer.is_admin:
        judge.check(told["unfinished_jobs"] <= concerned, f"counts {told['unfinished_jobs']} jobs")
    judge.listing(
        {each["document_id"] for each in told["troubles"] if each["document_id"]}, present, whole=False
    )


def quiet(method: str, path: str, body: Any = None) -> Surface:
    """A route whose reply has nothing of the corpus in it, for whoever gets one."""

    def ask(judge: Judge) -> None:
        _ask(judge, method, path, body)

    return ask


def open_to_all(path: str) -> Surface:
    """A route that asks for nobody: it tells nothing of the corpus, and no numbers about it."""

    def ask(judge: Judge) -> None:
        reply = judge.world.ask(judge.viewer, "GET", path)
        judge.report.requests += 1
        judge.told(reply.text, sent=path)
        judge.check("refdesk_documents" not in reply.text or judge.viewer.is_admin, "counts all documents")

    return ask


def index(judge: Judge) -> None:
    """Both legs of the index itself, without the second check, give exactly the passages that may be read.

    Of periods it knows nothing: what has ended stays there until it is swept away. Papers whose newest text could
    not be read are left out: the index hears of the list that came with it at the next reconciliation, and the
    second check decides until then.
    """
    if not judge.world.is_in_step:
        return
    person, paper = judge.viewer.person, _any_paper(judge)
    organisation = judge.world.organisation
    groups, against = (
        frozenset(PrincipalId(name) for name in names if name.startswith("group:"))
        for names in (organisation.names(person), organisation.names_against(person))
    )
    aliases = frozenset(UserId(id_) for id_ in organisation.ids(person) - {person})
    principal = Principal(UserId(person), groups, aliases=aliases, deny_only=against - groups)
    words = "the " + _words_of(judge, paper)
    with judge.world.bench.desk.indexes.answering() as opened:
        encoders = opened.encoders
        languages = opened.record.calibration.languages
        query = IndexQuery(
            access=filter_for(principal, outdated=judge.world.bench.desk.corpus.outdated_sources()),
            dense=encoders.embedder.embed_query(words),
            sparse=encoders.sparse.encode_query(words, languages=languages),
            depth=500,
            mode=SearchMode.HYBRID,
        )
        legs = opened.index.search(query)
    known, organisation = judge.world.chunks, judge.world.organisation
    left_out = {
        each.document_id for each in _papers(judge) if organisation.has_ended(each) or not each.is_settled
    }
    among = [each for each in _live(judge) if each.document_id not in left_out]
    for leg, whole in ((legs.dense, True), (legs.sparse, False)):
        found = [each.chunk_id for each in leg if each.chunk_id in known]
        found = [id_ for id_ in found if known[id_][0] not in left_out]
        judge.listing({known[id_][0] for id_ in found}, among, whole=whole, by_text=True)
        for id_ in found:
            about = judge.paper(known[id_][0])
            parts = organisation.parts(person, about) if about is not None else []
            judge.check(judge.part(id_) in parts, f"finds a hidden part of {known[id_][0]}", n=0)


SURFACES: dict[tuple[str, str], tuple[Surface, ...]] = {
    ("POST", "/api/v1/search"): (search, search, narrowed_search, narrowed_search),
    ("POST", "/api/v1/search/preview"): (preview, preview, preview),
    ("POST", "/api/v1/answers"): (answers, answers),
    ("POST", "/v1/chat/completions"): (chat,),
    ("GET", "/v1/models"): (models,),
    ("GET", "/v1/models/{model}"): (model,),
    ("GET", "/api/v1/documents"): (documents, documents, someone_elses_cursor),
    ("GET", _DOCUMENT): (document, attempts),
    ("GET", f"{_DOCUMENT}/versions"): (versions,),
    ("GET", f"{_DOCUMENT}/chunks"): (chunks, chunks),
    ("GET", f"{_DOCUMENT}/history"): (history,),
    ("GET", f"{_DOCUMENT}/text"): (text, text),
    ("GET", "/api/v1/retention"): (ending,),
    ("POST", "/api/v1/access/explain"): (explain, explain),
    ("POST", "/api/v1/documents/reindex"): (reindex_own,),
    ("GET", "/api/v1/sources"): (sources,),
    ("GET", "/api/v1/sources/{source_id}"): (source,),
    ("GET", "/api/v1/sources/{source_id}/runs"): (runs,),
    ("GET", "/api/v1/jobs"): (jobs,),
    ("GET", "/api/v1/jobs/{job_id}"): (job,),
    ("GET", "/api/v1/jobs/{job_id}/events"): (job_events,),
    ("GET", "/api/v1/status"): (status,),
    ("GET", "/api/v1/status/events"): (status_events,),
    ("GET", "/api/v1/whoami"): (quiet("GET", "/api/v1/whoami"),),
    ("POST", "/api/v1/feedback"): (quiet("POST", "/api/v1/feedback", {"request_id": "x", "rating": 1}),),
    ("GET", "/api/v1/keys"): (quiet("GET", "/api/v1/keys"),),
    ("GET", "/healthz"): (open_to_all("/healthz"),),
    ("GET", "/readyz"): (open_to_all("/readyz"),),
    ("GET", "/metrics"): (open_to_all("/metrics"),),
}
"""Routes that read; what is there more than once is asked more often."""

_OWN_REPLY = (
    "a write: what it tells is what its caller sent, and tests/leaks/test_route_matrix.py says to whom"
)
_OPERATORS = "for operators only, who see it whole: the route matrix holds everybody else off"

SILENT: dict[tuple[str, str], str] = {
    ("PUT", "/api/v1/documents"): _OWN_REPLY,
    ("DELETE", _DOCUMENT): _OWN_REPLY,
    ("POST", f"{_DOCUMENT}/reindex"): _OWN_REPLY,
    ("PUT", f"{_DOCUMENT}/acl"): _OWN_REPLY,
    ("PUT", f"{_DOCUMENT}/labels"): _OWN_REPLY,
    ("POST", "/api/v1/sources"): _OWN_REPLY,
    ("PATCH", "/api/v1/sources/{source_id}"): _OWN_REPLY,
    ("DELETE", "/api/v1/sources/{source_id}"): _OWN_REPLY,
    ("POST", "/api/v1/sources/{source_id}/reindex"): _OWN_REPLY,
    ("POST", "/api/v1/sources/{source_id}/sync"): _OWN_REPLY,
    ("DELETE", "/api/v1/jobs/{job_id}"): _OWN_REPLY,
    ("DELETE", "/api/v1/session"): _OWN_REPLY,
    ("POST", "/api/v1/keys"): _OWN_REPLY,
    ("DELETE", "/api/v1/keys/{key_id}"): _OWN_REPLY,
    ("POST", "/api/v1/keys/{key_id}/rotate"): _OWN_REPLY,
    ("GET", "/api/v1/audit"): _OPERATORS,
    ("GET", "/api/v1/audit/export"): _OPERATORS,
    ("GET", "/api/v1/usage"): _OPERATORS,
    ("GET", "/api/v1/indexes"): _OPERATORS,
    ("POST", "/api/v1/indexes"): _OPERATORS,
    ("POST", "/api/v1/indexes/{name}/activate"): _OPERATORS,
    ("DELETE", "/api/v1/indexes/{name}"): _OPERATORS,
    **{route: _OPERATORS for route in ROUTES if route[1].startswith((f"{DIRECTORY}/", f"{SCIM}/"))},
}
"""Routes that are not walked here, with the reason."""

INSIDE: tuple[Surface, ...] = (index,)
"""What no route shows, but every search rests on."""
