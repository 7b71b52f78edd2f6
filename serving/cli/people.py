"""`refdesk access` and `keys`: who may read what, and who comes in by which credential."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from serving.cli.api import Api, Connection, connected, json_option, open_api
from serving.cli.corpus import find_document
from serving.cli.errors import CommandError
from serving.cli.output import plain, print_json, print_table, say
from serving.cli.shape import Duration, ExampleCommand
from serving.cli.sources import refuse_stray_options


@click.group()
def access() -> None:
    """Explain who may read a document, and why; say who may read its sections."""


@access.command("explain", cls=ExampleCommand, examples=("refdesk access explain mara people/salaries.xlsx",))
@click.argument("user")
@click.argument("document")
@json_option
@connected
def explain(user: str, document: str, as_json: bool, connection: Connection) -> None:
    """Tell whether USER may read DOCUMENT (id or path), rule by rule."""
    with open_api(connection) as api:
        body = {"user_id": user, "document_id": find_document(api, document)}
        found = api.post("access", "explain", body=body)
    if as_json:
        print_json(found)
        return
    in_part = found["may_read"] and not found["reads_whole"]
    print(f"{user} {'may' if found['may_read'] else 'may not'} read {'parts of it' if in_part else 'it'}.")
    if not found["known_user"]:
        print(
            "The directory does not know this user, or has disabled it: groups are counted only when it asks."
        )
    rows = [
        (rule["rule"], "yes" if rule["applies"] else "no", ", ".join(rule["because"]), "←" * rule["decides"])
        for rule in found["rules"]
    ]
    print_table(("rule", "applies", "because of", "decides"), rows, empty="")
    if found["deny_only"]:
        print(
            f"Counts where it is denied only, as its members are not known: {', '.join(found['deny_only'])}"
        )
    for section in found["sections"]:
        print(f"section {plain(' > '.join(section['heading']))}: {'yes' if section['may_read'] else 'no'}")


@access.command(
    "sections",
    cls=ExampleCommand,
    examples=(
        "refdesk access sections people/handbook.md",
        "refdesk access sections people/handbook.md --heading Pay --heading Directors --allow board",
        "refdesk access sections people/handbook.md --heading Pay --confirm",
        "refdesk access sections people/handbook.md --heading Pay --remove",
    ),
)
@click.argument("document")
@click.option("--heading", "path", multiple=True, help="The section; its headings, outermost first.")
@click.option("--allow", multiple=True, help="Who may read it: user:ID, group:NAME or a group's name.")
@click.option("--deny", multiple=True, help="Who may not.")
@click.option("--confirm", is_flag=True, help="Keep its rule though the live text lost the heading.")
@click.option("--remove", is_flag=True, help="Take its rule away.")
@json_option
@connected
def sections(
    *,
    document: str,
    path: tuple[str, ...],
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    confirm: bool,
    remove: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """List who may read which section of DOCUMENT (id or path), or set the rule for one (--heading).

    A rule only ever narrows who may read the document, and reaches everything below its heading. Without --allow
    the owner alone reads the section.
    """
    if not path and (allow or deny or confirm or remove):
        raise click.UsageError("name the section with --heading")
    if remove + confirm + bool(allow or deny) > 1:
        raise click.UsageError("--remove, --confirm, and --allow with --deny exclude one another")
    with open_api(connection) as api:
        document_id = find_document(api, document)
        acl = api.get("documents", document_id)["acl"]
        if acl is None:
            raise CommandError("not_permitted", "only the document's owner may do this")
        if path:
            named = {"heading": list(path), "allow": list(allow), "deny": list(deny)}
            acl = _with_section(api, document_id, acl, named, confirm=confirm, remove=remove)
    if as_json:
        print_json({"sections": acl["sections"]})
        return
    rows = [
        (" > ".join(each["heading"]), each["standing"], ", ".join(each["readers"]), ", ".join(each["deny"]))
        for each in acl["sections"]
    ]
    print_table(("section", "heading is", "read by", "denied to"), rows, empty="No section has a rule.")
    if any(each["standing"] == "lost" for each in acl["sections"]):
        say(
            "The text lost a heading: its rule counts for all of the text until you --confirm or --remove it."
        )


def _with_section(
    api: Api,
    document_id: str,
    acl: Mapping[str, Any],
    named: Mapping[str, Any],
    *,
    confirm: bool,
    remove: bool,
) -> Mapping[str, Any]:
    """The document's list once the named section's rule is set, confirmed or taken away."""
    present = {tuple(each["heading"]): each for each in acl["sections"]}
    heading = tuple(named["heading"])
    if (confirm or remove) and heading not in present:
        raise CommandError("not_found", "there is no rule for this section")
    changed: dict[tuple[str, ...], dict[str, Any]] = {
        path: {"heading": each["heading"], "allow": each["allow"], "deny": each["deny"]}
        for path, each in present.items()
    }
    if remove:
        del changed[heading]
    elif confirm:
        changed[heading]["confirmed"] = True
    else:
        changed[heading] = dict(named)
    body = {"allow": acl["allow"], "deny": acl["deny"], "sections": list(changed.values())}
    done: Mapping[str, Any] = api.put("documents", document_id, "acl", body=body)["acl"]
    return done


@click.group(invoke_without_command=True)
@json_option
@connected
@click.pass_context
def keys(context: click.Context, as_json: bool, connection: Connection) -> None:
    """List API keys, or create and revoke them (refdesk keys create --help)."""
    if context.invoked_subcommand is not None:
        refuse_stray_options(connection, as_json)
        return
    with open_api(connection) as api:
        found = api.get("keys")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            key["name"],
            key["user_id"],
            ", ".join(key["scopes"]),
            key["last_used_at"],
            key["expires_at"],
            key["id"],
        )
        for key in found["keys"]
    ]
    print_table(("name", "user", "scopes", "last used", "expires", "id"), rows, empty="There is no key.")


@keys.command(
    "create",
    cls=ExampleCommand,
    examples=(
        "refdesk keys create laptop --scope search --scope answers",
        "refdesk keys create chat --user chatbot --scope search --scope answers --scope act-as --days 90",
    ),
)
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, help="What it is for; may be repeated.")
@click.option("--user", default=None, help="Whose key it is; yours when left out.")
@click.option("--days", type=click.IntRange(1, 3650), help="Days until it expires; never when left out.")
@json_option
@connected
def create_key(
    name: str,
    scopes: tuple[str, ...],
    user: str | None,
    days: int | None,
    as_json: bool,
    connection: Connection,
) -> None:
    """Create a key named NAME. Its secret is printed this once and cannot be read again."""
    expires = (datetime.now(UTC) + timedelta(days=days)).isoformat() if days else None
    body = {"name": name, "scopes": list(scopes), "user_id": user, "expires_at": expires}
    with open_api(connection, create=True) as api:
        made = api.post("keys", body=body)
    if as_json:
        print_json(made)
        return
    print(made["secret"])
    say(f"Keep it safe. Revoke it with: refdesk keys revoke {made['key']['id']}")


@keys.command(
    "rotate",
    cls=ExampleCommand,
    examples=("refdesk keys rotate 0b5e…", "refdesk keys rotate 0b5e… --grace 1h"),
)
@click.argument("key_id")
@click.option("--grace", type=Duration(), help="How long the old key stays valid too: 15m, 6h, 7d.")
@json_option
@connected
def rotate_key(key_id: str, grace: int | None, as_json: bool, connection: Connection) -> None:
    """Replace a key by a new one of the same name, user and scopes, whose secret is printed this once."""
    with open_api(connection) as api:
        made = api.post("keys", key_id, "rotate", body={"grace_s": grace or 0})
    if as_json:
        print_json(made)
        return
    print(made["secret"])
    say(f"Keep it safe. It is {made['key']['id']}; the old one ends {'after a while' if grace else 'now'}.")


@keys.command("revoke", cls=ExampleCommand, examples=("refdesk keys revoke 0b5e…",))
@click.argument("key_id")
@connected
def revoke_key(key_id: str, connection: Connection) -> None:
    """Revoke a key by its id; it is refused from the next request on."""
    with open_api(connection) as api:
        api.delete("keys", key_id)
    print("revoked")
