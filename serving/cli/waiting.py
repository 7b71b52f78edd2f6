"""Waits until accepted work is done, with a bar that moves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from serving.cli.api import Api
from serving.cli.errors import CommandError
from serving.cli.output import Advance, progress_bar

_POLL_S = 0.4
_PAGE = 200


def wait_for_run(api: Api, job_id: str) -> Mapping[str, Any]:
    """The job of a run, once it and the documents that it queued are done; a bar shows both meanwhile."""
    with progress_bar() as advance:
        while True:
            job: Mapping[str, Any] = api.get("jobs", job_id)
            _advance(advance, job)
            if job["is_over"]:
                return job
            time.sleep(_POLL_S)


def wait_for_build(api: Api, accepted: Mapping[str, Any]) -> Mapping[str, Any]:
    """The finished job of a rebuild, once the documents that it had read anew have come to rest as well."""
    with progress_bar() as advance:
        job = _wait_for_job(api, accepted["job"]["id"], advance, "index")
        if job["report"].get("rereading"):
            wait_until_idle(api, advance)
    return job


def wait_until_idle(api: Api, advance: Advance) -> None:
    """Return when no job that the caller may see waits or runs."""
    most = 0
    while unfinished := api.get("status")["unfinished_jobs"]:
        most = max(most, unfinished)
        advance("index", most - unfinished, most)
        time.sleep(_POLL_S)
    advance("index", most, most)


def outcome_of(job: Mapping[str, Any]) -> None:
    """Raise what a job failed of.

    Raises:
        CommandError: The job failed or was cancelled.
    """
    if job["state"] == "failed":
        hint = "If the deletions are meant, run it again with --confirm-deletions."
        raise CommandError(
            job["error_code"], job["error_message"], hint if job["error_code"] == "listing_shrank" else ""
        )
    if job["state"] == "cancelled":
        raise CommandError("cancelled", "the job was cancelled")


def failures_of(api: Api, source_id: str = "") -> Counter[str]:
    """Number of documents that failed, by reason, among those that the caller may read."""
    return Counter(str(document["error_code"]) for document in failed_documents(api, source_id))


def failed_documents(api: Api, source_id: str = "") -> Iterator[Mapping[str, Any]]:
    """Documents that failed and those given up on."""
    for state in ("failed", "quarantined"):
        cursor: str | None = ""
        while cursor is not None:
            page = api.get("documents", state=state, source=source_id, cursor=cursor, limit=_PAGE)
            yield from page["documents"]
            cursor = page["next_cursor"]


def _advance(advance: Advance, job: Mapping[str, Any]) -> None:
    if job["kind"] == "sync":
        advance("compare", job["done"], job["total"])
    documents = job["documents"]
    total = sum(documents.values()) if documents else 0
    if total:
        advance("index", total - documents["unfinished"], total)


def _wait_for_job(api: Api, job_id: str, advance: Advance, name: str = "compare") -> Mapping[str, Any]:
    while True:
        job: Mapping[str, Any] = api.get("jobs", job_id)
        advance(name, job["done"], job["total"])
        if job["finished_at"] is not None:
            return job
        time.sleep(_POLL_S)
