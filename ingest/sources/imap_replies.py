"""Takes apart what an IMAP server answers to LIST, NAMESPACE and FETCH, as `imaplib` hands it on. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_LIST = re.compile(rb'\((?P<uses>[^)]*)\) (?P<separator>NIL|"(?:\\.|[^"\\])*") (?P<name>.*)', re.DOTALL)
_LITERAL = re.compile(rb"\{\d+\}$")
_UTF7 = re.compile(r"&([^-]*)-")
_UID = re.compile(rb"\bUID (\d+)")
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d+)")
_FLAGS = re.compile(rb"\bFLAGS \(([^)]*)\)")
_RECEIVED = re.compile(rb'\bINTERNALDATE "([^"]{20,30})"')
_PREFIX = re.compile(rb'\("((?:\\.|[^"\\])*)" (?:NIL|"(?:\\.|[^"\\])*")')


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One folder.

    Attributes:
        name: Decoded, as people see it.
        quoted: As it goes back to the server.
        uses: Attributes in lower case, special uses (RFC 6154) among them.
        separator: Between a folder and its parent; empty where there is no hierarchy.
    """

    name: str
    quoted: str
    uses: frozenset[str]
    separator: str


@dataclass(frozen=True, slots=True)
class FetchedMessage:
    """One FETCH reply; what was not asked for is empty."""

    uid: int
    flags: frozenset[str]
    size_bytes: int
    received: datetime | None
    literal: bytes


def parse_list(lines: Iterable[Any]) -> list[Mailbox]:
    """The folders of a LIST reply; a line that cannot be read is left out."""
    return [mailbox for line in lines if (mailbox := _mailbox(line)) is not None]


def _mailbox(line: Any) -> Mailbox | None:
    head, literal = line if isinstance(line, tuple) else (line, None)
    match = _LIST.match(head) if isinstance(head, bytes) else None
    if match is None:
        return None
    raw = literal if literal is not None else _unquoted(match["name"])
    separator = (
        "" if match["separator"] == b"NIL" else _unquoted(match["separator"]).decode("ascii", "replace")
    )
    return Mailbox(
        name=decode_utf7(raw.decode("utf-8", "replace")),
        quoted='"' + raw.decode("utf-8", "replace").replace("\\", "\\\\").replace('"', '\\"') + '"',
        uses=frozenset(match["uses"].decode("ascii", "replace").lower().split()),
        separator=separator,
    )


def decode_utf7(name: str) -> str:
    """A folder name in IMAP's own variant of UTF-7 (RFC 3501, 5.1.3); as it stands when it is none."""

    def decoded(match: re.Match[str]) -> str:
        shifted = match.group(1).replace(",", "/")
        if not shifted:
            return "&"
        try:
            return base64.b64decode(shifted + "=" * (-len(shifted) % 4), validate=True).decode("utf-16-be")
        except (binascii.Error, UnicodeDecodeError):
            return match.group(0)

    return _UTF7.sub(decoded, name)


def shared_prefixes(lines: Iterable[Any]) -> tuple[str, ...]:
    """Prefixes of the folders that are other people's or shared, from a NAMESPACE reply."""
    text = b" ".join(line for line in lines if isinstance(line, bytes))
    personal, *others = _top_level(text)
    own = {match.group(1) for match in _PREFIX.finditer(personal)}
    found = {match.group(1) for part in others for match in _PREFIX.finditer(part)} - own
    return tuple(sorted(decode_utf7(prefix.decode("utf-8", "replace")) for prefix in found if prefix))


def _top_level(text: bytes) -> list[bytes]:
    """The three parts of a NAMESPACE reply: personal, other users', shared."""
    parts: list[bytes] = []
    depth, start = 0, 0
    for match in re.finditer(rb'"(?:\\.|[^"\\])*"|[()]|NIL', text):
        token = match.group()
        if token == b"(":
            start = match.start() if depth == 0 else start
            depth += 1
        elif token == b")":
            depth -= 1
            if depth == 0:
                parts.append(text[start : match.end()])
        elif token == b"NIL" and depth == 0:
            parts.append(b"")
    return parts or [b""]


def parse_fetch(lines: Iterable[Any]) -> list[FetchedMessage]:
    """The messages of a FETCH reply; attributes may stand before or after a message's literal."""
    messages: list[tuple[bytes, bytes]] = []
    for line in lines:
        if isinstance(line, tuple):
            messages.append((line[0], line[1]))
        elif isinstance(line, bytes) and re.match(rb"\d+ \(", line):
            messages.append((line, b""))
        elif isinstance(line, bytes) and messages:
            head, literal = messages[-1]
            messages[-1] = (head + b" " + line, literal)
    return [message for head, literal in messages if (message := _fetched(head, literal)) is not None]


def _fetched(head: bytes, literal: bytes) -> FetchedMessage | None:
    uid = _UID.search(head)
    if uid is None:
        return None
    size, flags, received = _SIZE.search(head), _FLAGS.search(head), _RECEIVED.search(head)
    return FetchedMessage(
        uid=int(uid.group(1)),
        flags=frozenset(flags.group(1).decode("ascii", "replace").lower().split()) if flags else frozenset(),
        size_bytes=int(size.group(1)) if size else 0,
        received=_internal_date(received.group(1)) if received else None,
        literal=literal,
    )


def _internal_date(text: bytes) -> datetime | None:
    try:
        return datetime.strptime(text.decode("ascii").strip(), "%d-%b-%Y %H:%M:%S %z").astimezone(UTC)
    except (ValueError, UnicodeDecodeError, OverflowError):
        return None


def _unquoted(text: bytes) -> bytes:
    if text.startswith(b'"') and text.endswith(b'"') and len(text) >= 2:
        return re.sub(rb"\\(.)", rb"\1", text[1:-1], flags=re.DOTALL)
    return text
