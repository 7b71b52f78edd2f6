"""What happened to a document or source, what happens next, and what its owner can do. Pure.

Every surface (HTTP, command line, web page) shows these sentences, so that nobody has to guess what a state means.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from retrieval.corpus import AclAge, Document, DocumentState, Source
from retrieval.jobs import MAX_ATTEMPTS, Job, JobState

_LONG_WAIT = timedelta(minutes=5)
"""A job that nobody has taken for this long may have no worker."""

_DOING = {
    DocumentState.FETCHING: "fetching it",
    DocumentState.PARSING: "reading it",
    DocumentState.EMBEDDING: "embedding it",
    DocumentState.INDEXING: "writing it to the index",
}

_NOTHING_TO_DO = "Nothing needs doing."

_REASONS: dict[str, tuple[str, str]] = {
    "audit_unavailable": ("the audit record could not be written", "Operators: see `refdesk doctor`."),
    "cancelled": ("somebody cancelled it before it was done", "Re-index the document."),
    "catalogue_unavailable": ("the catalogue did not answer", "Operators: see `refdesk doctor`."),
    "corrupt": (
        "the file is damaged, or is not what it claims to be",
        "Open and save it in its own program, then re-index it.",
    ),
    "embedder_unavailable": ("the embedding model did not answer", "Operators: see `refdesk doctor`."),
    "empty_file": ("the file has no bytes", "Put the content into the file, then re-index it."),
    "encrypted": ("the file needs a password", "Save a copy without a password, then re-index it."),
    "expansion_limit": (
        "the file unpacks to far more than its budget",
        "Check where it comes from; unpack it yourself and add the documents you need.",
    ),
    "fetch_failed": (
        "the source listed the file but did not hand it over",
        "Check that the file still exists and that the desk may read it.",
    ),
    "index_mismatch": (
        "the index belongs to another embedder or chunker",
        "Operators: build a new index with `refdesk rebuild`.",
    ),
    "index_unavailable": ("the index did not answer", "Operators: see `refdesk doctor`."),
    "indexes_changed": ("another index came up while it was written", _NOTHING_TO_DO),
    "internal_error": (
        "something failed that nobody foresaw",
        "Tell an operator; the desk's log has the details.",
    ),
    "invalid_source": (
        "the source's location or one of its options cannot be understood",
        "Correct the option (docs/connectors.md lists them), then sync again.",
    ),
    "lease_lost": ("another worker had taken it over", _NOTHING_TO_DO),
    "listing_shrank": (
        "so many documents were gone from the source that nothing was deleted",
        "Check the source; if they are meant to be gone, sync again and confirm the deletions.",
    ),
    "no_text": (
        "the file holds no text, as a scan or a picture does",
        "Add a text layer (OCR), then re-index it.",
    ),
    "parser_crashed": (
        "the file made its parser crash",
        "Save it in another format, then re-index it; please tell an operator.",
    ),
    "parser_memory": (
        "reading the file took more memory than allowed",
        "Split it or save it in a simpler format, then re-index it.",
    ),
    "parser_timeout": (
        "reading the file took longer than allowed",
        "Split it or save it in a simpler format, then re-index it.",
    ),
    "parser_unavailable": ("no parser process could be started", "Operators: see `refdesk doctor`."),
    "permissions_outdated": (
        "who may read it was last known too long ago",
        "Refresh the permission data of its source.",
    ),
    "source_unavailable": (
        "the source did not answer or is not there",
        "Check that the folder or site exists and that the desk may read it.",
    ),
    "storage_full": ("the disk of the state folder is nearly full", "Operators: make room on the disk."),
    "too_large": ("the file is over the size limit", "Split it, or ask an operator to raise the limit."),
    "unsupported_type": (
        "no parser reads what the file is",
        "Save it as PDF, Office, OpenDocument, HTML, Markdown, text or mail, then re-index it.",
    ),
    "worker_lost": (
        "the workers that read it died",
        "Save it in another format, then re-index it; please tell an operator.",
    ),
}
_UNKNOWN = ("it could not be read", "Correct the document at its source, then re-index it.")

_NO_WORKER = "If this lasts, no worker may be running; operators: see `refdesk doctor`."


@dataclass(frozen=True, slots=True)
class Explanation:
    """Sentences for people.

    Attributes:
        happened: What is so, and why.
        next: What the desk does by itself, and when.
        advice: What the owner can do.
    """

    happened: str
    next: str
    advice: str

    @property
    def is_trouble(self) -> bool:
        """Whether somebody should look; what takes its course needs nobody."""
        return self.advice != _NOTHING_TO_DO


def explain(document: Document, job: Job | None, source: Source, now: datetime) -> Explanation | None:
    """Explain a document that is not well or not done; None for one that is live or deleted.

    Args:
        document: The document.
        job: Its unfinished job, None without one.
        source: Where it comes from.
        now: The present moment, UTC.
    """
    if document.state in (DocumentState.LIVE, DocumentState.DELETED):
        return None
    found = (
        _at_rest(document, source) if document.state.is_terminal else _under_way(document, job, source, now)
    )
    if document.live_version is None:
        return found
    before = f" Version {document.live_version} stays readable meanwhile."
    return Explanation(found.happened + before, found.next, found.advice)


def explain_source(source: Source, run: Job | None, now: datetime) -> Explanation | None:
    """Explain a source that is not shown, paused, failing, overdue or being synced; None for one that is well.

    Args:
        source: The source.
        run: Its newest sync, None before the first one.
        now: The present moment, UTC.
    """
    upcoming = _next_sync(source, run, now)
    age = source.acl_state(now)
    if age is AclAge.OUTDATED:
        return _outdated(source, run, now)
    if age is AclAge.AGEING:
        return _ageing(source, run, now)
    if source.paused_at is not None:
        happened = f"It has been paused since {_at(source.paused_at, now)}."
        next_ = "It is neither synced nor indexed until it goes on; what was accepted waits."
        return Explanation(happened, next_, f"Let it go on: refdesk sources resume {source.id}")
    if source.error_code:
        reason, advice = _REASONS.get(source.error_code, _UNKNOWN)
        return Explanation(f"The last sync failed: {reason}.", upcoming, advice)
    if source.acl_error_code:
        return _ageing(source, run, now)
    if source.is_overdue(now):
        happened = "Its last good sync is longer ago than its freshness target allows."
        return Explanation(happened, upcoming, "Sync it now, or give it a schedule.")
    if run is not None and not run.state.is_finished:
        return Explanation("It is being compared with the catalogue.", upcoming, _NOTHING_TO_DO)
    return None


def _outdated(source: Source, run: Job | None, now: datetime) -> Explanation:
    """A source whose permission data are over their bound."""
    happened = (
        f"Who may read its documents was last known {_since(source, now)}, longer ago than is allowed "
        f"({_span(source.acl_max_age_s or 0)}): they are shown to nobody; their owners see that they are there."
    )
    next_ = f"They are shown again after the next refresh that ends well. {_next_refresh(source, run, now)}"
    return Explanation(happened, next_, _refresh_advice(source))


def _ageing(source: Source, run: Job | None, now: datetime) -> Explanation:
    """A source whose permission data are nearing their bound, or were not refreshed when they should have been."""
    happened = f"Who may read its documents was last known {_since(source, now)}."
    if source.acl_valid_until is not None:
        happened += f" From {_at(source.acl_valid_until, now)} on they are shown to nobody."
    return Explanation(happened, _next_refresh(source, run, now), _refresh_advice(source))


def _since(source: Source, now: datetime) -> str:
    known_at = source.acl_confirmed_at
    return "before it was ever listed in full" if known_at is None else f"at {_at(known_at, now)}"


def _refresh_advice(source: Source) -> str:
    if source.paused_at is not None:
        return f"Let it go on: refdesk sources resume {source.id}"
    again = f"Refresh it: refdesk sync {source.id} --access-only"
    code = source.acl_error_code or source.error_code
    if not code:
        return again
    reason, advice = _REASONS.get(code, _UNKNOWN)
    return f"The last attempt failed: {reason}. {advice} {again}"


def _next_refresh(source: Source, run: Job | None, now: datetime) -> str:
    if source.paused_at is not None:
        return (
            f"It has been paused since {_at(source.paused_at, now)}, and is not refreshed until it goes on."
        )
    under_way = run is not None and not run.state.is_finished
    if under_way or source.next_acl_at is None:
        return _next_sync(source, run, now)
    due = [moment for moment in (source.next_acl_at, source.next_sync_at) if moment is not None]
    return f"The next refresh is due at {_at(min(due), now)}."


def _span(seconds: int) -> str:
    """A time span in the largest unit in which it is whole."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}{'s' * (seconds != size)}"
    return f"{seconds} seconds"


def _at_rest(document: Document, source: Source) -> Explanation:
    """A document that failed for good or was given up on."""
    reason, advice = _REASONS.get(document.error_code, _UNKNOWN)
    if document.state is DocumentState.FAILED:
        next_ = "It stays so until the file changes or somebody re-indexes it."
        return Explanation(f"It failed: {reason}.", next_, advice)
    happened = f"It was put aside after {MAX_ATTEMPTS} failed attempts; the last one failed because {reason}."
    next_ = "The next whole sync of its source tries it again."
    if source.paused_at is not None:
        next_ = "Its source is paused; the first whole sync after the pause tries it again."
    elif not source.is_read:
        next_ = "It stays so until it is pushed again or re-indexed."
    return Explanation(happened, next_, f"{advice} To try at once: re-index it.")


def _under_way(document: Document, job: Job | None, source: Source, now: datetime) -> Explanation:
    if job is None or job.state.is_finished:
        happened = "It is marked as under way, but no job for it is."
        return Explanation(happened, "Nothing happens by itself.", "Re-index it.")
    if source.paused_at is not None:
        happened = f"It waits because its source has been paused since {_at(source.paused_at, now)}."
        next_ = "It is indexed as soon as the source goes on."
        return Explanation(happened, next_, f"Let the source go on: refdesk sources resume {source.id}")
    if job.state is JobState.RUNNING:
        return _running(document, job, now)
    if job.error_code:
        return _retrying(job, now)
    waited = now - job.created_at
    happened = f"It has been waiting for a free worker since {_at(job.created_at, now)}."
    advice = _NO_WORKER if waited > _LONG_WAIT else _NOTHING_TO_DO
    return Explanation(happened, "The next free worker takes it, in the order of the queue.", advice)


def _running(document: Document, job: Job, now: datetime) -> Explanation:
    doing = _DOING.get(document.state, "working on it")
    if job.lease_until is not None and job.lease_until <= now:
        happened = f"A worker was {doing} and fell silent; its lease ended at {_at(job.lease_until, now)}."
        next_ = f"Another worker takes it over within seconds (attempt {job.attempt + 1})."
        return Explanation(happened, next_, _NO_WORKER)
    since = "" if job.started_at is None else f" since {_at(job.started_at, now)}"
    next_ = "It is live when the worker is done."
    if job.lease_until is not None:
        next_ += f" Should the worker die, another one takes over after {_at(job.lease_until, now)}."
    return Explanation(f"A worker has been {doing}{since}.", next_, _NOTHING_TO_DO)


def _retrying(job: Job, now: datetime) -> Explanation:
    """A job whose last attempt failed for a reason that may pass."""
    reason, advice = _REASONS.get(job.error_code, _UNKNOWN)
    happened = f"Attempt {job.attempt} of {MAX_ATTEMPTS} failed because {reason}."
    when = "now" if job.not_before is None or job.not_before <= now else f"at {_at(job.not_before, now)}"
    return Explanation(happened, f"The next attempt begins {when}.", f"If it fails again: {advice}")


def _next_sync(source: Source, run: Job | None, now: datetime) -> str:
    if run is not None and run.state is JobState.RUNNING:
        return "A sync is running."
    if run is not None and run.state is JobState.QUEUED:
        due = run.not_before is not None and run.not_before > now
        return (
            f"A sync begins at {_at(run.not_before, now)}."
            if due and run.not_before
            else "A sync begins now."
        )
    if source.next_sync_at is not None:
        return f"The next sync is due at {_at(source.next_sync_at, now)}."
    return "Nothing happens by itself: it has no schedule."


def _at(moment: datetime, now: datetime) -> str:
    """A moment as people write it; the day is left out when it is today."""
    return f"{moment:%H:%M:%S} UTC" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M} UTC"
