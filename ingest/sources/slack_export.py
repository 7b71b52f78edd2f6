"""A Slack export as a source: each thread is a document, other messages are grouped by channel and day.

Public channels are read by the workspace's group, `group:<source id>/everyone`, or by whom the source's own
access list names; private channels and direct messages by their members, as far as the export names them and
the option `user_ids` maps them. Options: docs/connectors.md.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ingest.errors import InvalidSourceError
from ingest.ports import Connector, ConnectorParts
from ingest.sources.export import Export
from ingest.sources.identities import Identities, identities_from
from ingest.sources.options import SourceOptions
from ingest.sources.rendered import RenderedConnector, RenderedDocument
from ingest.sources.slack_text import author_of, message_as_html, plain_text
from ingest.sources.slack_workspace import Channel, ChannelKind, Workspace, read_json, read_workspace
from retrieval.access import Acl
from retrieval.corpus import Source

OPTIONS = ("workspace_domain", "public_acl", "user_ids", "email_domains")

_DOMAIN = re.compile(r"[a-z0-9][a-z0-9-]*(?:\.[a-z0-9][a-z0-9-]*)+")
_TS = re.compile(r"\d{1,11}\.\d{1,9}|\d{1,11}")
# Events that say nothing but that somebody came, went or turned a knob.
_SILENT = re.compile(
    r"(?:channel|group|mpim)_(?:join|leave|topic|purpose|name|archive|unarchive|posting_permissions|convert_\w+)"
    r"|bot_(?:add|remove|enable|disable)|pinned_item|unpinned_item|reminder_add|sh_room_\w+|huddle_thread"
    r"|app_conversation_(?:join|leave)|ekm_access_denied"
)
_MAX_TITLE = 80


@dataclass(frozen=True, slots=True)
class SlackRules:
    """What a source's options say.

    Attributes:
        domain: The workspace's host, for links; empty for none.
        public_by_source: Whether public channels follow the source's own access list.
    """

    default_acl: Acl
    identities: Identities
    domain: str
    public_by_source: bool


def connector(source: Source, parts: ConnectorParts) -> Connector:
    """The connector of a source of kind `slack_export`.

    Raises:
        InvalidSourceError: An option cannot be understood.
    """
    options = SourceOptions(source, OPTIONS)
    domain = options.text("workspace_domain").lower()
    if domain and not _DOMAIN.fullmatch(domain):
        raise InvalidSourceError("the option workspace_domain is a host such as acme.slack.com")
    rules = SlackRules(
        default_acl=source.default_acl,
        identities=identities_from(source.id, options),
        domain=domain,
        public_by_source=options.choice("public_acl", "workspace", ("workspace", "source")) == "source",
    )
    return RenderedConnector(
        Path(source.location),
        lambda export: render(export, rules),
        work_folder=parts.work_folder,
        max_file_bytes=parts.max_file_bytes,
    )


def render(export: Export, rules: SlackRules) -> Iterator[RenderedDocument]:
    """Every document of an export, one channel in memory at a time.

    Raises:
        SourceUnavailableError: Something in the export cannot be read.
    """
    workspace, days = read_workspace(export)
    for channel in workspace.channels:
        messages = _current(message for name in days[channel.folder] for message in read_json(export, name))
        acl = acl_of(channel, workspace, rules)
        for key, group in _grouped(messages).items():
            if any(message.get("subtype") != "tombstone" for message in group):
                yield _document(key, group, channel, workspace, acl, rules)


def acl_of(channel: Channel, workspace: Workspace, rules: SlackRules) -> Acl | None:
    """Who may read a channel's messages; its owner only where the export does not say.

    Access: deny by default. A member without a mail address, deactivated, or not covered by the source's
    rule for addresses gets no access.
    """
    if channel.kind is ChannelKind.PUBLIC:
        if rules.public_by_source:
            return None
        allowed = {rules.identities.group("everyone")}
    else:
        members = (workspace.members.get(member) for member in channel.members or ())
        users = (rules.identities.user(member.email) for member in members if member is not None)
        allowed = {user for user in users if user is not None}
    return Acl(rules.default_acl.owner, frozenset(allowed), rules.default_acl.deny)


def _current(events: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages as they stand now, oldest first: edits applied, deleted and silent ones left out."""
    by_ts: dict[str, dict[str, Any]] = {}
    edits: dict[str, dict[str, Any] | None] = {}
    for event in events:
        subtype = str(event.get("subtype") or "")
        edited = event.get("message")
        if subtype == "message_deleted":
            edits[str(event.get("deleted_ts"))] = None
        elif subtype == "message_changed" and isinstance(edited, dict):
            edits[str(edited.get("ts"))] = edited
        elif event.get("type", "message") == "message" and not _SILENT.fullmatch(subtype):
            by_ts[str(event.get("ts"))] = event
    for ts, edited in edits.items():
        if edited is None or edited.get("subtype") == "tombstone":
            by_ts.pop(ts, None)
        elif ts in by_ts:
            by_ts[ts] = by_ts[ts] | edited
    kept = {ts: message for ts, message in by_ts.items() if _TS.fullmatch(ts) and not message.get("hidden")}
    return [kept[ts] for ts in sorted(kept, key=lambda ts: (float(ts), ts))]


def _grouped(messages: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Messages by document: `thread-<ts of its first message>` or the day in UTC."""
    threads = {
        str(message["thread_ts"])
        for message in messages
        if message.get("thread_ts") and str(message["thread_ts"]) != str(message["ts"])
    }
    groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for message in messages:
        thread = str(message.get("thread_ts") or message["ts"])
        is_threaded = thread in threads and _TS.fullmatch(thread)
        groups[f"thread-{thread}" if is_threaded else f"{_time(message):%Y-%m-%d}"].append(message)
    return dict(groups)


def _document(
    key: str,
    messages: list[dict[str, Any]],
    channel: Channel,
    workspace: Workspace,
    acl: Acl | None,
    rules: SlackRules,
) -> RenderedDocument:
    place = _place(channel, workspace)
    thread = key.removeprefix("thread-") if key.startswith("thread-") else ""
    first_words = plain_text(messages[0], workspace)
    if len(first_words) > _MAX_TITLE:
        first_words = first_words[:_MAX_TITLE].rsplit(" ", 1)[0] + "…"
    title = f"{place}: {first_words or 'thread'}" if thread else f"{place}, {key}"
    body = "\n".join(_message(message, workspace) for message in messages)
    page = (
        f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>\n'
        f"<body>\n<h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"
    )
    return RenderedDocument(
        external_id=f"{channel.id}/{key}.html",
        content=page.encode("utf-8", "replace"),
        title=title,
        url=_permalink(rules.domain, channel, thread or str(messages[0]["ts"])),
        modified_at=max(_time(message) for message in messages),
        acl=acl,
    )


def _place(channel: Channel, workspace: Workspace) -> str:
    """The channel as a heading names it."""
    if channel.kind in (ChannelKind.DM, ChannelKind.GROUP_DM):
        names = sorted(workspace.name_of(member) for member in channel.members or ())
        return f"Direct messages: {', '.join(names)}" if names else "Direct messages"
    return f"#{channel.name}"


def _message(message: dict[str, Any], workspace: Workspace) -> str:
    author = html.escape(author_of(message, workspace))
    time = f"{_time(message):%Y-%m-%d %H:%M} UTC"
    edited = " (edited)" if message.get("edited") else ""
    if message.get("subtype") == "tombstone":
        return f"<p>[deleted message], {time}</p>"
    # A block element of its own, since code in the text is one, too.
    return f"<div><strong>{author}</strong>, {time}{edited}:<br>\n{message_as_html(message, workspace)}</div>"


def _permalink(domain: str, channel: Channel, ts: str) -> str:
    return f"https://{domain}/archives/{quote(channel.id, safe='')}/p{ts.replace('.', '')}" if domain else ""


def _time(message: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(float(message["ts"]), UTC)
