"""`refdesk sources` and `refdesk sync`: where documents come from, and bringing them up to date."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from serving.cli.api import Api, Connection, connected, json_option, open_api
from serving.cli.errors import CommandError
from serving.cli.output import plain, print_json, print_table, say
from serving.cli.shape import Duration, ExampleCommand, span, wait_option
from serving.cli.waiting import failures_of, outcome_of, wait_for_run

_EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_SIGNS = {"added": "+", "modified": "~", "touched": "=", "deleted": "-", "expired": "x"}

_option = click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="For the connector; VALUE may be JSON."
)
_every = click.option("--every", type=Duration(), help="Sync by itself this often: 15m, 6h, 1d; off: never.")
_labels = click.option(
    "--label", "labels", multiple=True, help="Label of all its documents (no-ai, …); may be repeated."
)
_freshness = click.option("--freshness", type=Duration(), help="Age that is accepted: 2h, 1d; off: any.")
_acl_every = click.option(
    "--acl-every", type=Duration(), help="Refresh who may read what by itself this often: 1h; off: never."
)
_acl_max_age = click.option(
    "--acl-max-age",
    type=Duration(),
    help="When that is older (12h, 7d), the documents are shown to nobody; off: never.",
)


@click.group(invoke_without_command=True)
@json_option
@connected
@click.pass_context
def sources(context: click.Context, as_json: bool, connection: Connection) -> None:
    """List the sources of documents; add, show, set, pause, resume or remove one (see below)."""
    if context.invoked_subcommand is not None:
        refuse_stray_options(connection, as_json)
        return
    with open_api(connection) as api:
        found = api.get("sources")
    if as_json:
        print_json(found)
        return
    rows = [
        (each["name"], each["id"], each["kind"], _counts(each), _age(each), _condition(each))
        for each in found["sources"]
    ]
    columns = ("name", "id", "kind", "documents", "age", "condition")
    print_table(columns, rows, empty="There is no source yet.")


@sources.command(
    "add",
    cls=ExampleCommand,
    examples=(
        "refdesk sources add handbook --folder ./handbook --allow everyone --every 1h",
        "refdesk sources add intranet --push --allow staff --allow user:mara",
    ),
)
@click.argument("name")
@click.option("--folder", type=_EXISTING_FOLDER, help="Read this folder.")
@click.option("--push", is_flag=True, help="Take documents that clients push.")
@click.option("--kind", default="", help="Any other kind of source (docs/operations.md lists them).")
@click.option("--location", default="", help="What a source of that kind reads: an address or a path.")
@_option
@_every
@_freshness
@_labels
@click.option("--watch", is_flag=True, help="Take a folder's changes in at once, while the desk runs.")
@click.option("--id", "source_id", default="", help="Id to use; one is made when left out.")
@click.option("--allow", multiple=True, help="Group (or user:ID) that may read; may be repeated.")
@click.option("--deny", multiple=True, help="Group (or user:ID) that may not; may be repeated.")
@json_option
@connected
def add_source(
    name: str,
    *,
    folder: Path | None,
    push: bool,
    kind: str,
    location: str,
    options: tuple[str, ...],
    every: int | None,
    freshness: int | None,
    labels: tuple[str, ...],
    watch: bool,
    source_id: str,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    as_json: bool,
    connection: Connection,
) -> None:
    """Add a source named NAME: a folder of the desk's machine, or one that clients push documents into.

    Without --allow only you read its documents, unless .refdesk.toml files in the folder say otherwise.
    """
    if [folder is not None, push, bool(kind)].count(True) != 1:
        raise click.UsageError("give exactly one of --folder, --push and --kind")
    body = {
        "id": source_id,
        "name": name,
        "kind": kind or ("push" if push else "folder"),
        "location": str(folder.absolute()) if folder else location,
        "acl": {"allow": list(allow), "deny": list(deny)},
        "options": {**_options(options), **({"watch": True} if watch else {})},
        "labels": list(labels),
    }
    with open_api(connection, create=True) as api:
        made = api.post("sources", body=body)
        if every is not None or freshness is not None:
            made = api.patch("sources", made["id"], body=_times(sync_every_s=every, freshness_s=freshness))
    if as_json:
        print_json(made)
    else:
        print(made["id"])
        say("Push with PUT /api/v1/documents." if push else f"Read it with: refdesk sync {made['id']}")


@sources.command("show", cls=ExampleCommand, examples=("refdesk sources show handbook",))
@click.argument("source")
@json_option
@connected
def show_source(source: str, as_json: bool, connection: Connection) -> None:
    """Show how SOURCE (name or id) is set up, how fresh it is, and its last syncs."""
    with open_api(connection) as api:
        found = _named(api, source)
        runs = api.get("sources", found["id"], "runs", limit=10)["jobs"] if found["can_manage"] else []
    if as_json:
        print_json({"source": found, "runs": runs})
        return
    _print_source(found)
    if runs:
        print()
        rows = [(run["created_at"][:19], run["reason"], _outcome(run)) for run in runs]
        print_table(("sync", "because", "outcome"), rows, empty="")


@sources.command(
    "set",
    cls=ExampleCommand,
    examples=(
        "refdesk sources set handbook --every 30m --freshness 2h",
        "refdesk sources set handbook --acl-every 15m --acl-max-age 1d",
        "refdesk sources set handbook --every off --option watch=true",
    ),
)
@click.argument("source")
@click.option("--name", help="Its new name.")
@_option
@_every
@_freshness
@_acl_every
@_acl_max_age
@_labels
@json_option
@connected
def set_source(
    *,
    source: str,
    name: str | None,
    options: tuple[str, ...],
    every: int | None,
    freshness: int | None,
    acl_every: int | None,
    acl_max_age: int | None,
    labels: tuple[str, ...],
    as_json: bool,
    connection: Connection,
) -> None:
    """Change SOURCE (name or id). Options are added to those it has; NAME= takes one away.

    With --label these become the labels of all its documents; --label none takes them away.
    """
    body: dict[str, Any] = _times(
        sync_every_s=every, freshness_s=freshness, acl_every_s=acl_every, acl_max_age_s=acl_max_age
    )
    if labels:
        body["labels"] = [] if labels == ("none",) else list(labels)
    if name is not None:
        body["name"] = name
    with open_api(connection) as api:
        found = _named(api, source)
        if options:
            merged = {**(found["options"] or {}), **_options(options)}
            body["options"] = {key: value for key, value in merged.items() if value != ""}
        _show_changed(api.patch("sources", found["id"], body=body), as_json)


@sources.command("pause", cls=ExampleCommand, examples=("refdesk sources pause handbook",))
@click.argument("source")
@json_option
@connected
def pause_source(source: str, as_json: bool, connection: Connection) -> None:
    """Hold SOURCE: it is neither synced nor indexed; what it has stays readable."""
    with open_api(connection) as api:
        found = _named(api, source)
        _show_changed(api.patch("sources", found["id"], body={"paused": True}), as_json)


@sources.command("resume", cls=ExampleCommand, examples=("refdesk sources resume handbook",))
@click.argument("source")
@json_option
@connected
def resume_source(source: str, as_json: bool, connection: Connection) -> None:
    """Let SOURCE go on after a pause; what waited is worked on."""
    with open_api(connection) as api:
        found = _named(api, source)
        _show_changed(api.patch("sources", found["id"], body={"paused": False}), as_json)


@sources.command("remove", cls=ExampleCommand, examples=("refdesk sources remove handbook --yes",))
@click.argument("source")
@click.option("--yes", is_flag=True, help="Do not ask.")
@wait_option
@json_option
@connected
def remove_source(source: str, yes: bool, wait: bool, as_json: bool, connection: Connection) -> None:
    """Remove SOURCE and all its documents from the desk; what it was read from is not touched."""
    with open_api(connection) as api:
        found = _named(api, source)
        if not yes:
            click.confirm(
                f"Remove {found['name']} and its documents ({_counts(found)})?", abort=True, err=True
            )
        job = api.delete("sources", found["id"])["job"]
        if wait:
            job = wait_for_run(api, job["id"])
    if as_json:
        print_json({"job": job})
    else:
        print(f"{found['name']}: removed")
    outcome_of(job)


@click.command(
    cls=ExampleCommand,
    examples=("refdesk sync", "refdesk sync handbook --dry-run", "refdesk sync --no-wait"),
)
@click.argument("source", required=False)
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--confirm-deletions", is_flag=True, help="Allow a mass deletion that was held back.")
@click.option("--access-only", is_flag=True, help="Refresh who may read what, and nothing else.")
@wait_option
@json_option
@connected
def sync(
    *,
    source: str | None,
    dry_run: bool,
    confirm_deletions: bool,
    access_only: bool,
    wait: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Bring the documents of SOURCE (name or id; every one that the desk reads when left out) up to date.

    An empty listing, or one from which over 30 % of the documents are gone, is held back as an error until
    --confirm-deletions says that it is meant.
    """
    if access_only and (dry_run or confirm_deletions):
        raise click.UsageError("--access-only goes with neither --dry-run nor --confirm-deletions")
    body = {"dry_run": dry_run, "confirm_deletions": confirm_deletions, "access_only": access_only}
    with open_api(connection) as api:
        chosen = _chosen(api, source)
        accepted = {each["id"]: api.post("sources", each["id"], "sync", body=body) for each in chosen}
        jobs = [reply["job"] for reply in accepted.values()]
        if wait or dry_run:
            jobs = [wait_for_run(api, job["id"]) for job in jobs]
        if as_json:
            print_json({"jobs": jobs})
        else:
            for each, job in zip(chosen, jobs, strict=True):
                _print_sync(api, each, job)
    for job in jobs:
        outcome_of(job)


def refuse_stray_options(connection: Connection, as_json: bool) -> None:
    """Refuse options that stand before a subcommand, where they would count for nothing.

    Raises:
        UsageError: There are some.
    """
    if as_json or connection.data is not None or connection.as_user:
        raise click.UsageError("put options behind the subcommand")


def find_source(api: Api, named: str) -> Mapping[str, Any] | None:
    """The source of this id or name; None when there is none that the caller may see."""
    fitting = [each for each in api.get("sources")["sources"] if named in (each["id"], each["name"])]
    return fitting[0] if fitting else None


def _named(api: Api, named: str) -> Mapping[str, Any]:
    found = find_source(api, named)
    if found is None:
        raise CommandError("not_found", f"there is no source {named}", "See refdesk sources.")
    return found


def _chosen(api: Api, named: str | None) -> list[Mapping[str, Any]]:
    listed = [each for each in api.get("sources")["sources"] if each["can_manage"]]
    if named is None:
        read = [each for each in listed if each["is_read"] and not each["paused_at"]]
        if not read:
            raise CommandError(
                "not_found", "there is no folder to sync", "Add one: refdesk sources add NAME --folder F"
            )
        return read
    fitting = [each for each in listed if named in (each["id"], each["name"])]
    if not fitting:
        message = f"there is no source {named} that you may sync"
        raise CommandError("not_found", message, "See refdesk sources.")
    return fitting


def _options(given: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise click.UsageError("write an option as NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _times(**given: int | None) -> dict[str, Any]:
    """Schedules and bounds as the API takes them; 0 (`off`) is null there."""
    return {name: value or None for name, value in given.items() if value is not None}


def _show_changed(changed: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(changed)
    else:
        _print_source(changed)


def _print_source(source: Mapping[str, Any]) -> None:
    target = f", at most {span(source['freshness_s'])}" if source["freshness_s"] else ""
    rows = [
        ("name", source["name"]),
        ("id", source["id"]),
        ("kind", source["kind"]),
        ("location", source["location"]),
        ("options", json.dumps(source["options"], ensure_ascii=False) if source["options"] else ""),
        ("owner", source["owner"]),
        ("documents", _counts(source)),
        ("age", f"{_age(source) or 'never synced'}{target}" if source["is_read"] else ""),
        ("synced every", span(source["sync_every_s"])),
        ("next sync", source["next_sync_at"]),
        ("permissions", _permissions(source) if source["is_read"] else ""),
        ("refreshed every", span(source["acl_every_s"])),
        ("condition", _condition(source)),
        ("error", source["error_message"]),
        ("unknown groups", ", ".join(source["unknown_groups"])),
    ]
    print_table(("what", "is"), [row for row in rows if row[1]], empty="")


def _print_sync(api: Api, source: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    print(f"{source['name']}: {_outcome(job)}")
    diff = job["report"].get("diff", {})
    for what, names in diff.items():
        for name in names:
            print(f"  {_SIGNS[what]} {plain(name)}")
        if job["report"][what] > len(names):
            print(f"  {_SIGNS[what]} and {job['report'][what] - len(names)} more")
    if job["state"] == "done" and not job["parameters"].get("dry_run"):
        for reason, count in sorted(failures_of(api, source["id"]).items()):
            print(f"  {count} failed: {reason}")


def _outcome(job: Mapping[str, Any]) -> str:
    """What a sync found, or how it stands."""
    counts = [f"{count} {what}" for what, count in job["report"].items() if isinstance(count, int)]
    documents = job["documents"] or {}
    unfinished = documents.get("unfinished", 0)
    if unfinished:
        counts.append(f"{unfinished} not done yet")
    return ", ".join(counts) or job["error_code"] or job["state"]


def _counts(source: Mapping[str, Any]) -> str:
    states = source["documents_by_state"]
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"


def _age(source: Mapping[str, Any]) -> str:
    return span(source["age_s"]) if source["is_read"] else ""


def _permissions(source: Mapping[str, Any]) -> str:
    """How old it is what the desk knows of who may read what."""
    bound = f", at most {span(source['acl_max_age_s'])}" if source["acl_max_age_s"] else ""
    known = "never confirmed" if source["acl_age_s"] is None else f"{span(source['acl_age_s'])} old"
    return f"{known}{bound}"


def _condition(source: Mapping[str, Any]) -> str:
    facts = [
        "paused" if source["paused_at"] else "",
        "overdue" if source["overdue"] else "",
        "" if source["acl_state"] == "current" else f"permissions {source['acl_state']}",
        source["error_code"],
        "unknown groups" if source["unknown_groups"] else "",
    ]
    return ", ".join(fact for fact in facts if fact) or "well"
