"""`refdesk status`, `sources`, `sync`, `docs` and `reindex`: what is in the desk, kept up to date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from serving.cli.api import Api, Connection, connected, json_option, open_api
from serving.cli.errors import CommandError
from serving.cli.output import print_json, print_table, progress_bar, say
from serving.cli.shape import ExampleCommand
from serving.cli.waiting import (
    failed_documents,
    failures_of,
    outcome_of,
    wait_for_sync,
    wait_until_idle,
)

_EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

_STATES = ("queued", "fetching", "parsing", "embedding", "indexing", "live", "failed", "quarantined")

wait_option = click.option(
    "--wait/--no-wait", default=True, help="Wait until the documents are done (the default), or not."
)


@click.command(cls=ExampleCommand, examples=("refdesk status", "refdesk status --json"))
@json_option
@connected
def status(as_json: bool, connection: Connection) -> None:
    """Show where the desk stands, counting what you may see."""
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


@click.group(invoke_without_command=True)
@json_option
@connected
@click.pass_context
def sources(context: click.Context, as_json: bool, connection: Connection) -> None:
    """List the sources of documents, or add one (refdesk sources add --help)."""
    if context.invoked_subcommand is not None:
        refuse_stray_options(connection, as_json)
        return
    with open_api(connection) as api:
        found = api.get("sources")
    if as_json:
        print_json(found)
        return
    rows = [
        (each["name"], each["id"], each["kind"], _counts(each), each["synced_at"], each["error_code"])
        for each in found["sources"]
    ]
    print_table(("name", "id", "kind", "documents", "synced", "error"), rows, empty="There is no source yet.")


@sources.command(
    "add",
    cls=ExampleCommand,
    examples=(
        "refdesk sources add handbook --folder ./handbook --allow everyone",
        "refdesk sources add intranet --push --allow staff --allow user:mara",
    ),
)
@click.argument("name")
@click.option("--folder", type=_EXISTING_FOLDER, help="Read this folder.")
@click.option("--push", is_flag=True, help="Take documents that clients push.")
@click.option("--id", "source_id", default="", help="Id to use; one is made when left out.")
@click.option("--allow", multiple=True, help="Group (or user:ID) that may read; may be repeated.")
@click.option("--deny", multiple=True, help="Group (or user:ID) that may not; may be repeated.")
@json_option
@connected
def add_source(
    name: str,
    folder: Path | None,
    push: bool,
    source_id: str,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    as_json: bool,
    connection: Connection,
) -> None:
    """Add a source named NAME: a folder of the desk's machine, or one that clients push documents into.

    Without --allow only you read its documents, unless .refdesk.toml files in the folder say otherwise.
    """
    if (folder is None) != push:
        raise click.UsageError("give exactly one of --folder and --push")
    body = {
        "id": source_id,
        "name": name,
        "kind": "push" if push else "folder",
        "location": str(folder.absolute()) if folder else "",
        "acl": {"allow": list(allow), "deny": list(deny)},
    }
    with open_api(connection, create=True) as api:
        made = api.post("sources", body=body)
    if as_json:
        print_json(made)
    else:
        print(made["id"])
        say(f"Read it with: refdesk sync {made['id']}" if folder else "Push with PUT /api/v1/documents.")


@click.command(
    cls=ExampleCommand,
    examples=("refdesk sync", "refdesk sync handbook --dry-run", "refdesk sync --no-wait"),
)
@click.argument("source", required=False)
@click.option("--dry-run", is_flag=True, help="Only count what would change.")
@click.option("--confirm-deletions", is_flag=True, help="Allow a mass deletion that was held back.")
@wait_option
@json_option
@connected
def sync(
    source: str | None,
    dry_run: bool,
    confirm_deletions: bool,
    wait: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Bring the documents of SOURCE (name or id; every folder when left out) up to date.

    An empty listing, or one from which over 30 % of the documents are gone, is held back as an error until
    --confirm-deletions says that it is meant.
    """
    body = {"dry_run": dry_run, "confirm_deletions": confirm_deletions}
    with open_api(connection) as api:
        chosen = _chosen(api, source)
        accepted = {each["id"]: api.post("sources", each["id"], "sync", body=body) for each in chosen}
        jobs = [wait_for_sync(api, reply) if wait or dry_run else reply["job"] for reply in accepted.values()]
        if as_json:
            print_json({"jobs": jobs})
        else:
            for each, job in zip(chosen, jobs, strict=True):
                _print_sync(api, each, job)
    for job in jobs:
        outcome_of(job)


@click.command(
    cls=ExampleCommand,
    examples=("refdesk docs", "refdesk docs --state failed", "refdesk docs --find travel"),
)
@click.option("--state", type=click.Choice(_STATES), help="Only in this state.")
@click.option("--source", default="", help="Only of this source (id).")
@click.option("--find", default="", help="Only with this in the title or path.")
@click.option("--mine", is_flag=True, help="Only those that you own.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Most to show.")
@click.option("--cursor", default="", help="Go on after an earlier page (its next_cursor).")
@json_option
@connected
def docs(
    state: str | None,
    source: str,
    find: str,
    mine: bool,
    limit: int,
    cursor: str,
    as_json: bool,
    connection: Connection,
) -> None:
    """List the documents that you may read, with their state and what is wrong with them."""
    with open_api(connection) as api:
        narrow = {"state": state, "source": source, "q": find, "mine": "true" if mine else ""}
        page = api.get("documents", **narrow, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    rows = [(d["state"], d["title"], d["external_id"], d["error_code"], d["id"]) for d in page["documents"]]
    print_table(("state", "title", "path", "error", "id"), rows, empty="No document that you may read.")
    if page["next_cursor"]:
        say(f"More: --cursor {page['next_cursor']}")


@click.command(cls=ExampleCommand, examples=("refdesk reindex people/travel.md", "refdesk reindex --failed"))
@click.argument("document", required=False)
@click.option("--failed", is_flag=True, help="Every document that failed or was given up on.")
@click.option("--all", "everything", is_flag=True, help="Every document that you may change.")
@wait_option
@json_option
@connected
def reindex(
    document: str | None, failed: bool, everything: bool, wait: bool, as_json: bool, connection: Connection
) -> None:
    """Read DOCUMENT (id or path) anew, whether or not it changed."""
    if [document is not None, failed, everything].count(True) != 1:
        raise click.UsageError("give exactly one of DOCUMENT, --failed and --all")
    with open_api(connection) as api:
        accepted = [api.post("documents", id_, "reindex") for id_ in _to_reindex(api, document, failed)]
        ids = [str(each["document_id"]) for each in accepted]
        if wait and accepted:
            with progress_bar() as advance:
                wait_until_idle(api, advance)
        states = [api.get("documents", id_) for id_ in ids] if wait else []
    if as_json:
        print_json({"accepted": accepted})
    else:
        _print_reindexed(states, len(accepted))
    unwell = [each for each in states if each["state"] in ("failed", "quarantined")]
    if unwell:
        raise CommandError(unwell[0]["error_code"], f"{len(unwell)} of {len(accepted)} failed")


def refuse_stray_options(connection: Connection, as_json: bool) -> None:
    """Refuse options that stand before a subcommand, where they would count for nothing.

    Raises:
        UsageError: There are some.
    """
    if as_json or connection.data is not None or connection.as_user:
        raise click.UsageError("put options behind the subcommand")


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


def _to_reindex(api: Api, document: str | None, failed: bool) -> Iterator[str]:
    if document is not None:
        yield find_document(api, document)
        return
    listed = failed_documents(api) if failed else _all_documents(api)
    yield from [str(each["id"]) for each in listed if each["can_manage"]]


def _all_documents(api: Api) -> Iterator[Mapping[str, Any]]:
    cursor: str | None = ""
    while cursor is not None:
        page = api.get("documents", cursor=cursor, limit=200)
        yield from page["documents"]
        cursor = page["next_cursor"]


def _print_reindexed(states: list[Any], n_accepted: int) -> None:
    if not states:
        print(f"{n_accepted} queued")
        return
    rows = [(each["state"], each["title"], each["external_id"], each["error_code"]) for each in states]
    print_table(("state", "title", "path", "error"), rows, empty="")


def _chosen(api: Api, named: str | None) -> list[Mapping[str, Any]]:
    listed = [each for each in api.get("sources")["sources"] if each["can_manage"]]
    if named is None:
        folders = [each for each in listed if each["kind"] != "push"]
        if not folders:
            raise CommandError(
                "not_found", "there is no folder to sync", "Add one: refdesk sources add NAME --folder F"
            )
        return folders
    fitting = [each for each in listed if named in (each["id"], each["name"])]
    if not fitting:
        message = f"there is no source {named} that you may sync"
        raise CommandError("not_found", message, "See refdesk sources.")
    return fitting


def _print_sync(api: Api, source: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    counts = ", ".join(f"{count} {what}" for what, count in job["report"].items()) or job["state"]
    print(f"{source['name']}: {counts}")
    if job["state"] == "done" and not job["parameters"].get("dry_run"):
        for reason, count in sorted(failures_of(api, source["id"]).items()):
            print(f"  {count} failed: {reason}")


def _counts(source: Mapping[str, Any]) -> str:
    states = source["documents_by_state"]
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
