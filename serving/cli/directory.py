"""`refdesk directory`: users, groups, and who is in which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from retrieval.errors import InvalidQueryError
from serving.cli.api import Api, Connection, connected, json_option, open_api
from serving.cli.output import plain, print_json, print_table
from serving.cli.shape import ExampleCommand
from serving.cli.sources import refuse_stray_options

_PAGE = 1000


@click.group(invoke_without_command=True)
@json_option
@connected
@click.pass_context
def directory(context: click.Context, as_json: bool, connection: Connection) -> None:
    """List the users of the directory, or look after users and groups (refdesk directory put --help)."""
    if context.invoked_subcommand is not None:
        refuse_stray_options(connection, as_json)
        return
    with open_api(connection) as api:
        users = _all(api, "users", "users")
    if as_json:
        print_json({"users": users})
        return
    rows = [
        (user["id"], user["name"], "disabled" if user["disabled"] else "", ", ".join(user["groups"]))
        for user in users
    ]
    print_table(("user", "name", "", "groups"), rows, empty="The directory is empty.")


@directory.command(
    "put", cls=ExampleCommand, examples=("refdesk directory put mara --group hr --group staff",)
)
@click.argument("user")
@click.option("--name", default="", help="Name to show.")
@click.option("--group", "groups", multiple=True, help="Group the user is in; may be repeated.")
@json_option
@connected
def put_user(user: str, name: str, groups: tuple[str, ...], as_json: bool, connection: Connection) -> None:
    """Create or replace USER. The groups given are the only ones, from the next request on."""
    with open_api(connection, create=True) as api:
        found = api.put("directory", "users", user, body={"name": name, "groups": list(groups)})
    if as_json:
        print_json(found)
    else:
        print(f"{found['id']}: {', '.join(found['groups']) or 'in no group'}")


@directory.command("disable", cls=ExampleCommand, examples=("refdesk directory disable mara",))
@click.argument("user")
@json_option
@connected
def disable(user: str, as_json: bool, connection: Connection) -> None:
    """Shut USER out, whatever key, token or session is shown, from the next request on."""
    _switch(connection, user, disabled=True, as_json=as_json)


@directory.command("enable", cls=ExampleCommand, examples=("refdesk directory enable mara",))
@click.argument("user")
@json_option
@connected
def enable(user: str, as_json: bool, connection: Connection) -> None:
    """Let USER in again, into the same groups."""
    _switch(connection, user, disabled=False, as_json=as_json)


def _switch(connection: Connection, user: str, *, disabled: bool, as_json: bool) -> None:
    with open_api(connection) as api:
        found = api.patch("directory", "users", user, body={"disabled": disabled})
    if as_json:
        print_json(found)
    else:
        print(f"{user} is {'disabled' if found['disabled'] else 'enabled'}")


@directory.command("sign-out", cls=ExampleCommand, examples=("refdesk directory sign-out oidc:248289761001",))
@click.argument("user")
@json_option
@connected
def sign_out(user: str, as_json: bool, connection: Connection) -> None:
    """Sign USER out of every browser, from the next request on. Keys are not touched."""
    with open_api(connection) as api:
        found = api.delete("directory", "users", user, "sessions")
    if as_json:
        print_json(found)
    else:
        print(f"{found['ended']} sessions ended")


@directory.command("identities", cls=ExampleCommand, examples=("refdesk directory identities mara",))
@click.argument("user")
@json_option
@connected
def identities(user: str, as_json: bool, connection: Connection) -> None:
    """List the other ids of USER."""
    with open_api(connection) as api:
        found = api.get("directory", "users", user, "identities")
    if as_json:
        print_json(found)
        return
    rows = [
        (each["issuer"], each["subject"], each["known_as"], each["linked_at"]) for each in found["identities"]
    ]
    print_table(("issuer", "subject", "known as", "since"), rows, empty=f"{user} has no other id.")


@directory.command(
    "link",
    cls=ExampleCommand,
    examples=(
        "refdesk directory link mara oidc 248289761001",
        "refdesk directory link mara mail mara.lindqvist@example.org",
    ),
)
@click.argument("user")
@click.argument("issuer")
@click.argument("subject")
@click.option(
    "--takeover", is_flag=True, help="Also if it was somebody else's, with all that is granted to it."
)
@json_option
@connected
def link(user: str, issuer: str, subject: str, takeover: bool, as_json: bool, connection: Connection) -> None:
    """Link another id to USER: SUBJECT at ISSUER, which is oidc, a source's id, or mail."""
    body = {"issuer": issuer, "subject": subject, "takeover": takeover}
    with open_api(connection) as api:
        found = api.post("directory", "users", user, "identities", body=body)
    if as_json:
        print_json(found)
    else:
        print(f"{user} is also user:{found['known_as']}")


@directory.command(
    "unlink", cls=ExampleCommand, examples=("refdesk directory unlink mara mail mara@example.org",)
)
@click.argument("user")
@click.argument("issuer")
@click.argument("subject")
@connected
def unlink(user: str, issuer: str, subject: str, connection: Connection) -> None:
    """Take the id SUBJECT at ISSUER from USER."""
    with open_api(connection) as api:
        api.delete("directory", "users", user, "identities", issuer=issuer, subject=subject)
    print("unlinked")


@directory.command(
    "groups", cls=ExampleCommand, examples=("refdesk directory groups", "refdesk directory groups hr")
)
@click.argument("group", required=False)
@json_option
@connected
def groups(group: str | None, as_json: bool, connection: Connection) -> None:
    """List the groups, or the members of GROUP."""
    with open_api(connection) as api:
        members = None if group is None else _all(api, "members", "members", group=group)
        found = [] if group is not None else _all(api, "groups", "groups")
    if as_json:
        print_json({"groups": found} if members is None else {"members": members})
    elif members is not None:
        print_table(("member",), [(member,) for member in members], empty=f"Nobody is in {group}.")
    else:
        rows = [
            (each["id"], each["name"], each["n_members"], each["incomplete_since"] or "") for each in found
        ]
        print_table(("group", "name", "members", "incomplete since"), rows, empty="There is no group.")


@directory.command(
    "group",
    cls=ExampleCommand,
    examples=(
        "refdesk directory group staff --new --add group:hr --add user:mara",
        "refdesk directory group staff --remove user:mara",
    ),
)
@click.argument("group")
@click.option("--new", is_flag=True, help="Make it.")
@click.option("--name", default=None, help="Name to show.")
@click.option("--add", multiple=True, help="Member, user:ID or group:NAME; may be repeated.")
@click.option("--remove", multiple=True, help="Member who leaves; may be repeated.")
@json_option
@connected
def change_group(
    group: str,
    new: bool,
    name: str | None,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    as_json: bool,
    connection: Connection,
) -> None:
    """Make or change GROUP; it counts from the next request on."""
    with open_api(connection, create=new) as api:
        if new:
            body = {"id": group, "name": name or "", "members": sorted(set(add) - set(remove))}
            found = api.post("directory", "groups", body=body)
        else:
            change = {"name": name, "add": list(add), "remove": list(remove)}
            found = api.patch("directory", "groups", group, body=change)
    if as_json:
        print_json(found)
    else:
        print(f"{found['id']}: {found['n_members']} members")


@directory.command("delete-group", cls=ExampleCommand, examples=("refdesk directory delete-group staff",))
@click.argument("group")
@connected
def delete_group(group: str, connection: Connection) -> None:
    """Delete GROUP: access lists that name it match nobody from the next request on."""
    with open_api(connection) as api:
        api.delete("directory", "groups", group)
    print("deleted")


@directory.command(
    "import",
    cls=ExampleCommand,
    examples=("refdesk directory import people.csv --dry-run", "refdesk directory import directory.json"),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@json_option
@connected
def import_file(file: Path, dry_run: bool, as_json: bool, connection: Connection) -> None:
    """Bring in the users and groups of FILE, all or none. Whom it does not name stays as it is.

    CSV has the columns user,name,groups,disabled or group,name,members, with ";" between several in one cell; JSON
    is {"users": [{"id", "name", "groups", "disabled"}], "groups": [{"id", "name", "members"}]}.
    """
    from serving.importing import body_of_file

    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidQueryError(f"{file} is no text in UTF-8") from error
    body = body_of_file(text, is_json=file.suffix.lower() == ".json")
    with open_api(connection, create=not dry_run) as api:
        found = api.post("directory", "import", body={**body, "dry_run": dry_run})
    if as_json:
        print_json(found)
        return
    for each in found["differences"]:
        print(plain(_line(each)))
    if found["new_groups"]:
        print(f"made as they are named: {plain(', '.join(found['new_groups']))}")
    done = "would change" if dry_run else "changed"
    print(f"{len(found['differences'])} {done}, {found['n_unchanged']} as they were")


def _line(difference: Mapping[str, Any]) -> str:
    """What changes of a user or group, in one line."""
    states = {True: "disabled", False: "enabled", None: ""}
    parts = [f'named "{difference["name"]}"' if difference["name"] else "", states[difference["disabled"]]]
    parts += [f"+{id_}" for id_ in difference["added"]] + [f"-{id_}" for id_ in difference["removed"]]
    sign = "+" if difference["is_new"] else "~"
    return " ".join([sign, difference["id"], *filter(None, parts)])


def _all(api: Api, what: str, field: str, **narrow: Any) -> list[Any]:
    """Every entry of a listing, page by page."""
    found: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get("directory", what, cursor=cursor, limit=_PAGE, **narrow)
        found += page[field]
        cursor = page["next_cursor"]
    return found
