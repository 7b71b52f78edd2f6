"""Whatever state a document is in, people are told what happened, what comes next, and what helps."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import ingest.errors
from ingest.errors import IngestError
from retrieval.corpus import Document, DocumentId, DocumentState, JobId, Source, SourceId
from retrieval.errors import RerankerUnavailableError, RetrievalError
from retrieval.jobs import Job, JobKind, JobState
from serving.explaining import _REASONS, Explanation, explain, explain_source
from tests.make import NOON, make_acl

MINUTE = timedelta(minutes=1)
SOURCE = Source(SourceId("s"), "s", "folder", "/x", make_acl(), NOON)


def _document(state: str, code: str = "", **fields: Any) -> Document:
    document = Document(
        id=DocumentId("d"), source_id=SourceId("s"), external_id="a.md", title="A", source_title="", url="",
        media_type="", language="", tags=(), acl=make_acl(), state=DocumentState(state), error_code=code,
        error_message="", retryable=False, attempts=0, warnings=(), fingerprint="", size_bytes=1,
        superseded_by="", live_version_id=None, live_version=None, modified_at=NOON, created_at=NOON,
        updated_at=NOON, deleted_at=None,
    )  # fmt: skip
    return replace(document, **fields)


def _job(state: str, **fields: Any) -> Job:
    job = Job(
        id=JobId("j"), kind=JobKind.INDEX, document_id=DocumentId("d"), source_id=None, state=JobState(state),
        attempt=1, error_code="", error_message="", parameters={}, report={}, done=0, total=0,
        requested_by="olga", reason="added", created_at=NOON, started_at=None, finished_at=None,
    )  # fmt: skip
    return replace(job, **fields)


def _explained(document: Document, job: Job | None = None, source: Source = SOURCE) -> Explanation:
    explanation = explain(document, job, source, NOON + MINUTE)
    assert explanation is not None
    return explanation


def test_parser_timeout() -> None:
    """Failed for good: it waits for a change, and splitting helps."""
    found = _explained(_document("failed", "parser_timeout"))
    assert "longer than allowed" in found.happened
    assert found.next == "It stays so until the file changes or somebody re-indexes it."
    assert "Split it" in found.advice


def test_index_unavailable_with_a_retry_pending() -> None:
    """The time of the next attempt is named."""
    job = _job("queued", error_code="index_unavailable", not_before=NOON + 2 * MINUTE)
    found = _explained(_document("queued", live_version=2), job)
    assert found.happened.startswith("Attempt 1 of 3 failed because the index did not answer.")
    assert "Version 2 stays readable" in found.happened
    assert found.next == "The next attempt begins at 12:02:00 UTC."
    assert "refdesk doctor" in found.advice


def test_source_unavailable() -> None:
    """The source says what is wrong with it and when it is tried again."""
    broken = replace(SOURCE, error_code="source_unavailable", next_sync_at=NOON + 10 * MINUTE)
    found = explain_source(broken, None, NOON)
    assert found is not None
    assert "did not answer or is not there" in found.happened
    assert found.next == "The next sync is due at 12:10:00 UTC."
    retry = _job("queued", kind=JobKind.SYNC, not_before=NOON + MINUTE, error_code="source_unavailable")
    again = explain_source(broken, retry, NOON)
    assert again is not None
    assert again.next == "A sync begins at 12:01:00 UTC."


@pytest.mark.parametrize(
    ("source", "next_"),
    [
        (SOURCE, "The next whole sync of its source tries it again."),
        (replace(SOURCE, kind="push"), "It stays so until it is pushed again or re-indexed."),
        (replace(SOURCE, paused_at=NOON), "Its source is paused; the first whole sync after the pause"),
    ],
)
def test_quarantined(source: Source, next_: str) -> None:
    """Three attempts failed; what comes next depends on the source."""
    found = _explained(_document("quarantined", "fetch_failed"), source=source)
    assert found.happened.startswith("It was put aside after 3 failed attempts")
    assert found.next.startswith(next_)
    assert found.advice.endswith("re-index it.")


def test_stuck_running() -> None:
    """A worker that fell silent is named as such, and another one takes over."""
    job = _job("running", lease_until=NOON, started_at=NOON - MINUTE)
    found = _explained(_document("parsing"), job)
    assert found.happened == "A worker was reading it and fell silent; its lease ended at 12:00:00 UTC."
    assert found.next == "Another worker takes it over within seconds (attempt 2)."
    alive = _explained(_document("parsing"), replace(job, lease_until=NOON + 2 * MINUTE))
    assert "takes over after 12:02:00 UTC" in alive.next


def test_waiting_paused_and_lost() -> None:
    """A free worker, the end of the pause, or a click is what it waits for."""
    assert "free worker" in _explained(_document("queued"), _job("queued")).happened
    old = _job("queued", created_at=NOON - 10 * MINUTE)
    assert "no worker may be running" in _explained(_document("queued"), old).advice
    paused = replace(SOURCE, paused_at=NOON)
    assert "paused" in _explained(_document("queued"), _job("queued"), paused).happened
    assert _explained(_document("queued")).advice == "Re-index it."


def test_nothing_to_say() -> None:
    """A live document and a source that is well need no words."""
    assert explain(_document("live"), None, SOURCE, NOON) is None
    assert explain_source(replace(SOURCE, synced_at=NOON), None, NOON) is None


def test_sources_that_need_a_word() -> None:
    """Paused, overdue, held deletions and a sync under way."""
    sources = {
        "paused since": replace(SOURCE, paused_at=NOON - 24 * 60 * MINUTE),
        "freshness target": replace(SOURCE, freshness_s=60),
        "nothing was deleted": replace(SOURCE, error_code="listing_shrank"),
    }
    for words, source in sources.items():
        found = explain_source(source, None, NOON + 2 * MINUTE)
        assert found is not None
        assert words in found.happened
    running = explain_source(SOURCE, _job("running", kind=JobKind.SYNC), NOON)
    assert running is not None
    assert "compared" in running.happened


def test_the_age_of_permission_data() -> None:
    """A warning with the time it has left; then what opens it again, and what failed."""
    bound = replace(SOURCE, acl_max_age_s=600, acl_confirmed_at=NOON, next_acl_at=NOON + 20 * MINUTE)
    assert explain_source(bound, None, NOON + 7 * MINUTE) is None
    ageing = explain_source(bound, None, NOON + 9 * MINUTE)
    assert ageing is not None
    assert ageing.happened.endswith("From 12:10:00 UTC on they are shown to nobody.")
    broken = replace(bound, error_code="source_unavailable", paused_at=NOON)
    warned = explain_source(broken, None, NOON + 9 * MINUTE)
    assert warned is not None
    assert warned.happened == ageing.happened
    outdated = explain_source(replace(bound, acl_error_code="source_unavailable"), None, NOON + 10 * MINUTE)
    assert outdated is not None
    assert "longer ago than is allowed (10 minutes): they are shown to nobody" in outdated.happened
    assert outdated.next == (
        "They are shown again after the next refresh that ends well. The next refresh is due at 12:20:00 UTC."
    )
    assert "The last attempt failed: the source did not answer" in outdated.advice
    paused = explain_source(replace(bound, paused_at=NOON), None, NOON + 10 * MINUTE)
    assert paused is not None
    assert "not refreshed until it goes on" in paused.next
    assert paused.advice == "Let it go on: refdesk sources resume s"


def test_every_reason_has_words() -> None:
    """Each code that a document or source can carry is explained."""
    errors = [each for each in vars(ingest.errors).values() if isinstance(each, type)]
    codes = {each.code for each in errors if issubclass(each, IngestError) and "code" in vars(each)}
    codes |= {each.code for each in RetrievalError.__subclasses__() if each.retryable}
    codes.discard(RerankerUnavailableError.code)  # a search goes on without one; indexing never asks it
    assert codes <= _REASONS.keys()
