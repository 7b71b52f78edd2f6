"""Who and what a Slack export speaks of: its people and its channels, with those who may read each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from ingest.errors import SourceUnavailableError
from ingest.sources.export import Export, read_small

_MAX_JSON_BYTES = 256 << 20


class ChannelKind(StrEnum):
    """Where the export lists a channel; that, and nothing inside the entry, decides who may read it."""

    PUBLIC = "channels.json"
    PRIVATE = "groups.json"
    GROUP_DM = "mpims.json"
    DM = "dms.json"
    UNLISTED = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A person or a bot. `email` is empty when the export states none or the account is deactivated."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Channel:
    """A place with messages.

    Attributes:
        id: Stable over renames; the folder's name where the export states none.
        folder: Its folder in the export.
        members: User ids, None when the export does not say.
    """

    id: str
    name: str
    folder: str
    kind: ChannelKind
    members: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Workspace:
    """Everything but the messages.

    Attributes:
        members: By user id.
        channels: Those that have a folder with messages.
        public_names: Names of the public channels by id; any other name may be a secret, too.
    """

    members: dict[str, Member]
    channels: tuple[Channel, ...]
    public_names: dict[str, str]

    def name_of(self, user_id: str) -> str:
        """What a person is called; the id when nobody knows."""
        member = self.members.get(user_id)
        return member.name if member else user_id


def read_workspace(export: Export) -> tuple[Workspace, dict[str, list[str]]]:
    """The workspace, and the names of each channel's day files by channel folder.

    Raises:
        SourceUnavailableError: This is no Slack export, or one of its lists cannot be read: without the list
            of private channels, for one, nobody could tell who may read what.
    """
    names = export.names()
    root = _root(names)
    users = _entries(export, names, f"{root}users.json")
    members = {str(user["id"]): _member(user) for user in users if "id" in user}
    days = _day_files(names, root)
    listed: dict[str, Channel] = {}
    # Later kinds are narrower: a folder that two lists claim counts as the narrower one.
    for kind in (ChannelKind.PUBLIC, ChannelKind.PRIVATE, ChannelKind.GROUP_DM, ChannelKind.DM):
        for entry in _entries(export, names, f"{root}{kind.value}"):
            channel = _channel(entry, kind, days)
            listed[channel.folder] = channel
    channels = [listed.get(folder) or _unlisted(folder) for folder in days]
    _refuse_shared_ids(channels)
    public = {channel.id: channel.name for channel in listed.values() if channel.kind is ChannelKind.PUBLIC}
    return Workspace(members, tuple(channels), public), days


def read_json(export: Export, name: str) -> list[dict[str, Any]]:
    """A file that holds a list of objects.

    Raises:
        SourceUnavailableError: It holds something else.
    """
    try:
        value = json.loads(read_small(export, name, _MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise SourceUnavailableError(f"{name} in the export is not valid JSON") from error
    if not isinstance(value, list):
        raise SourceUnavailableError(f"{name} in the export is not a list")
    return [item for item in value if isinstance(item, dict)]


def _root(names: list[str]) -> str:
    """The folder inside the export that holds the lists, with a "/" at its end; empty for the top."""
    found = [name for name in names if PurePosixPath(name).name == "channels.json"]
    if not found:
        raise SourceUnavailableError("there is no channels.json: this is not a Slack export")
    return min(found, key=lambda name: (name.count("/"), name)).removesuffix("channels.json")


def _entries(export: Export, names: list[str], name: str) -> Iterator[dict[str, Any]]:
    if name in names:
        yield from read_json(export, name)


def _day_files(names: list[str], root: str) -> dict[str, list[str]]:
    days: dict[str, list[str]] = {}
    for name in names:
        folder, _, day = name.removeprefix(root).rpartition("/")
        if name.startswith(root) and folder and "/" not in folder and day.endswith(".json"):
            days.setdefault(folder, []).append(name)
    return days


def _member(user: dict[str, Any]) -> Member:
    profile = user.get("profile") if isinstance(user.get("profile"), dict) else {}
    assert isinstance(profile, dict)
    names = (profile.get("display_name"), profile.get("real_name"), user.get("real_name"), user.get("name"))
    name = next((str(name) for name in names if name), str(user.get("id")))
    counts = not user.get("deleted") and not user.get("is_bot")
    return Member(name, str(profile.get("email") or user.get("email") or "") if counts else "")


def _channel(entry: dict[str, Any], kind: ChannelKind, days: dict[str, list[str]]) -> Channel:
    channel_id, name = str(entry.get("id") or ""), str(entry.get("name") or "")
    folder = name if name in days and kind is not ChannelKind.DM else channel_id or name
    members = entry.get("members")
    is_known = isinstance(members, list) and all(isinstance(member, str) for member in members)
    return Channel(
        id=channel_id or folder,
        name=name or channel_id,
        folder=folder,
        kind=kind,
        members=frozenset(members) if is_known and isinstance(members, list) else None,
    )


def _unlisted(folder: str) -> Channel:
    return Channel(folder, folder, folder, ChannelKind.UNLISTED, None)


def _refuse_shared_ids(channels: list[Channel]) -> None:
    ids = [channel.id for channel in channels]
    if len(ids) != len(set(ids)):
        raise SourceUnavailableError("two channels of the export have the same id")
