"""`refdesk status`, `docs`, `label`, `retention` and `reindex`: what is in the desk, and how it fares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from serving.cli.api import Api, Connection, connected, json_option, open_api
from serving.cli.errors import CommandError
from serving.cli.output import plain, print_json, print_table, say
from serving.cli.shape import ExampleCommand, wait_option
from serving.cli.sources import find_source
from serving.cli.waiting import wait_for_run

_STATES = ("queued", "fetching", "parsing", "embedding", "indexing", "live", "failed", "quarantined")


@click.command(cls=ExampleCommand, examples=("refdesk status", "refdesk status --json"))
@json_option
@connected
def status(as_json: bool, connection: Connection) -> None:
    """Show where the desk stands, counting what you may see, and what is wrong and helps."""
    with open_api(connection) as api:
        found, (_, readiness) = api.get("status"), api.probe("/readyz")
    if as_json:
        print_json(found)
        return
    rows = [("desk", api.where), ("version", found["version"]), ("identity", found["identity"])]
    rows += [(f"documents {state}", count) for state, count in sorted(found["documents_by_state"].items())]
    rows += [("passages", found["passages"]), ("jobs unfinished", found["unfinished_jobs"])]
    rows += [("answers by", found["generator"])]
    rows += [(f"part {part}", outcome) for part, outcome in readiness["parts"].items()]
    print_table(("what", "is"), rows, empty="")
    for trouble in found["troubles"]:
        print(f"\n{plain(trouble['name'])} ({trouble['state']})")
        print_explanation(trouble["explanation"])
    if found["unknown_groups"]:
        named = ", ".join(plain(group) for group in found["unknown_groups"])
        print(f"\nAccess lists name groups that nobody knows, so they match nobody: {named}")


@click.command(
    cls=ExampleCommand,
    examples=("refdesk docs", "refdesk docs --state failed", "refdesk docs people/travel.md"),
)
@click.argument("document", required=False)
@click.option("--state", type=click.Choice(_STATES), help="Only in this state.")
@click.option("--source", default="", help="Only of this source (id).")
@click.option("--find", default="", help="Only with this in the title or path.")
@click.option("--mine", is_flag=True, help="Only those that you own.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Most to show.")
@click.option("--cursor", default="", help="Go on after an earlier page (its next_cursor).")
@json_option
@connected
def docs(
    *,
    document: str | None,
    state: str | None,
    source: str,
    find: str,
    mine: bool,
    limit: int,
    cursor: str,
    as_json: bool,
    connection: Connection,
) -> None:
    """List the documents that you may read, with their state; or tell all about DOCUMENT (id, path or title).

    For a document that is not live it says what happened, what happens next and what helps.
    """
    with open_api(connection) as api:
        if document is not None:
            _show_document(api, find_document(api, document), as_json)
            return
        narrow = {"state": state, "source": source, "q": find, "mine": "true" if mine else ""}
        page = api.get("documents", **narrow, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    rows = [(d["state"], d["title"], d["external_id"], d["error_code"], d["id"]) for d in page["documents"]]
    print_table(("state", "title", "path", "error", "id"), rows, empty="No document that you may read.")
    if page["next_cursor"]:
        say(f"More: --cursor {page['next_cursor']}")


@click.command(
    cls=ExampleCommand,
    examples=(
        "refdesk reindex people/travel.md",
        "refdesk reindex --source handbook --path people",
        "refdesk reindex --failed",
    ),
)
@click.argument("document", required=False)
@click.option("--source", default="", help="Every document of this source (name or id).")
@click.option("--path", default="", help="Only what lies below this folder.")
@click.option("--failed", is_flag=True, help="Every document that failed or was given up on.")
@click.option("--all", "everything", is_flag=True, help="Every document that you may change.")
@wait_option
@json_option
@connected
def reindex(
    document: str | None,
    source: str,
    path: str,
    failed: bool,
    everything: bool,
    wait: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Read documents anew, whether or not they changed: DOCUMENT (id or path), or those that options name.

    Without --source these are the documents that you own, for administrators everybody's.
    """
    if (document is not None) == bool(source or path or failed or everything):
        raise click.UsageError("give either DOCUMENT or some of --source, --path, --failed and --all")
    with open_api(connection) as api:
        if document is not None:
            reply = api.post("documents", find_document(api, document), "reindex")
        else:
            reply = _reindex_many(api, source, {"path": path, "only_failed": failed})
        job = wait_for_run(api, reply["job"]["id"]) if wait else reply["job"]
        states = [api.get("documents", reply["document_id"])] if wait and document is not None else []
    if as_json:
        print_json({**reply, "job": job})
    else:
        _print_reindexed(states, reply, job)
    documents = job["documents"] or {}
    if documents.get("failed"):
        message = f"{documents['failed']} of {sum(documents.values())} failed"
        raise CommandError("documents_failed", message, "refdesk docs --state failed lists them.")
    if states and states[0]["state"] in ("failed", "quarantined"):
        raise CommandError(states[0]["error_code"], states[0]["error_message"])


@click.command(
    cls=ExampleCommand,
    examples=("refdesk label minutes/june.md", "refdesk label minutes/june.md --add no-ai --remove hold"),
)
@click.argument("document")
@click.option("--add", multiple=True, help="Set this label: no-ai, hold or retention:CLASS; may be repeated.")
@click.option("--remove", multiple=True, help="Take this label away, where a person set it; may be repeated.")
@json_option
@connected
def label(
    document: str, add: tuple[str, ...], remove: tuple[str, ...], as_json: bool, connection: Connection
) -> None:
    """Show the labels of DOCUMENT (id, path or title), or change those that people set.

    What its source, its text or the document around it states stays.
    """
    with open_api(connection) as api:
        document_id = find_document(api, document)
        found = api.get("documents", document_id)
        if add or remove:
            own = {each["name"] for each in found["labels"] if each["origin"] == "owner"}
            body = {"labels": sorted((own | set(add)) - set(remove))}
            found = api.put("documents", document_id, "labels", body=body)
    if as_json:
        print_json({name: found[name] for name in ("labels", "kept_until", "held")})
        return
    rows = [(each["name"], each["origin"]) for each in found["labels"]]
    print_table(("label", "set by"), rows, empty="It has no label.")
    say(_kept(found))


@click.command(cls=ExampleCommand, examples=("refdesk retention --days 90", "refdesk retention --json"))
@click.option("--days", type=click.IntRange(0, 36_500), default=30, show_default=True, help="From now on.")
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="Most to show.")
@json_option
@connected
def retention(days: int, limit: int, as_json: bool, connection: Connection) -> None:
    """List the documents that you may read whose period of retention ends within some days. Changes nothing."""
    with open_api(connection) as api:
        found = api.get("retention", days=days, limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [
        (each["kept_until"][:10], ", ".join(each["classes"]), each["title"], each["external_id"])
        for each in found["documents"]
    ]
    print_table(("kept until", "class", "title", "path"), rows, empty=f"Nothing ends within {days} days.")
    periods = [f"{name} {period} days" for name, period in found["classes"].items()]
    say(f"Classes: {', '.join(periods) or 'none (REFDESK_RETENTION)'}")
    if found["others"]:
        say(f"And {found['others']} that you may not read.")


def print_explanation(explanation: Mapping[str, str] | None) -> None:
    """Print what happened, what happens next and what helps, one a line."""
    if explanation is not None:
        for name, words in (("what", "happened"), ("next", "next"), ("help", "advice")):
            print(f"  {name}: {explanation[words]}")


def find_document(api: Api, named: str) -> str:
    """The id of a document that is named by its id, its path, or its title.

    Raises:
        CommandError: There is none that the caller may see, or there are several.
    """
    page = api.get("documents", q=named, limit=200)["documents"]
    for field in ("id", "external_id", "title"):
        fitting = [str(each["id"]) for each in page if each[field] == named]
        if len(fitting) > 1:
            raise CommandError("usage", f"{len(fitting)} documents are called {named}", "Name one by its id.")
        if fitting:
            return fitting[0]
    return named  # an id; the API says so when it is none


def _reindex_many(api: Api, source: str, body: dict[str, Any]) -> Mapping[str, Any]:
    path = ["documents"]
    if source:
        found = find_source(api, source)
        if found is None:
            raise CommandError("not_found", f"there is no source {source}", "See refdesk sources.")
        if found["can_manage"]:
            path = ["sources", found["id"]]
        else:
            body = {**body, "source_id": found["id"]}
    reply: Mapping[str, Any] = api.post(*path, "reindex", body=body)
    return reply


def _print_reindexed(states: list[Any], reply: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    if states:
        rows = [(each["state"], each["title"], each["external_id"], each["error_code"]) for each in states]
        print_table(("state", "title", "path", "error"), rows, empty="")
        return
    if "queued" in reply:
        left = [f"{reply[name]} {name.replace('_', ' ')}" for name in ("queued", "already_queued", "paused")]
        print(", ".join(each for each in left if not each.startswith("0 ")) or "no document fits")
    else:
        print("1 queued")
    done = job["documents"]
    if done and job["is_over"]:
        print(", ".join(f"{count} {what}" for what, count in done.items() if count))


def _show_document(api: Api, document_id: str, as_json: bool) -> None:
    found, history = api.get("documents", document_id), api.get("documents", document_id, "history")
    if as_json:
        print_json({"document": found, "history": history})
        return
    fields = ("title", "external_id", "id", "source_id", "state", "version", "owner", "media_type")
    rows = [(name.replace("_", " "), found[name]) for name in fields]
    if found["labels"]:
        names = sorted({each["name"] for each in found["labels"]})
        rows += [("labels", ", ".join(names)), ("kept", _kept(found))]
    print_table(("what", "is"), rows, empty="")
    print_explanation(found["explanation"])
    events: list[tuple[str, ...]] = [
        (each["created_at"][:19], f"version {each['number']}", each["reason"], each["requested_by"])
        for each in history["versions"]
    ]
    events += [
        (each["created_at"][:19], each["kind"], each["reason"], each["requested_by"], _end_of(each))
        for each in history["jobs"]
    ]
    print()
    shown = [(*event, "")[:5] for event in sorted(events, reverse=True)]
    print_table(("when", "what", "why", "by", "outcome"), shown, empty="")


def _kept(found: Mapping[str, Any]) -> str:
    """How long a document is kept, in words."""
    if found["held"]:
        return "kept while it is held"
    return f"kept until {found['kept_until'][:10]}" if found["kept_until"] else "kept for any time"


def _end_of(job: Mapping[str, Any]) -> str:
    return f"{job['state']} {job['error_code']}".strip()
