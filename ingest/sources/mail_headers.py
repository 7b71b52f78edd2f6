"""Reads of a message's headers what a listing needs, and decides under which id the message is known. Pure."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import getaddresses

from ingest.parsers.dates import parse_mail_date

MAX_HEADER_BYTES = 64 * 1024
"""What follows in a longer header is not read."""

_MAX_FIELD = 16_384
_MESSAGE_ID = re.compile(r"<\s*([\w.!#$%&'*+=?^`{|}~-]{1,120}@[\w.\[\]:-]{1,120})\s*>", re.ASCII)
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
# Mail programs change these when a message is read, filed or flagged.
_MUTABLE = re.compile(
    rb"(?im)^(?:x-)?(?:status|keywords|uid|imap|imapbase|mozilla-[\w-]+):.*\r?\n(?:[ \t].*\r?\n)*"
)
_GMAIL_HIDDEN = re.compile(r"(?i)(?:^|[,\s\"])(?:drafts?|spam|trash)(?:$|[,\s\"])")
_MOZILLA_DELETED = 0x0008


@dataclass(frozen=True, slots=True)
class Headers:
    """What a listing needs of one message.

    Attributes:
        message_id: Without angle brackets; empty when there is none that can be used as an id.
        sent_at: None when the Date header cannot be read.
        participants: Addresses in From, To and Cc, as written.
        is_hidden: The headers mark it as a draft, as junk or as deleted.
    """

    message_id: str
    subject: str
    sent_at: datetime | None
    participants: tuple[str, ...]
    is_hidden: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A message that was found, before its id is decided.

    Attributes:
        place: Where its bytes are; JSON values, and the order in which copies are preferred.
        digest: Computes a hash of what never changes in the message; dear, so only called when needed.
    """

    headers: Headers
    fingerprint: str
    received_at: datetime
    size_bytes: int
    place: tuple[str | int, ...]
    digest: Callable[[], str]


def header_end(content: bytes) -> int:
    """Offset of the body, or of the end of what is read."""
    match = _END_OF_HEADER.search(content, 0, MAX_HEADER_BYTES)
    return match.end() if match else min(len(content), MAX_HEADER_BYTES)


def read_headers(content: bytes) -> Headers:
    """Parse the header section at the start of `content`. Never fails: what cannot be read is empty."""
    message = BytesHeaderParser(policy=compat32).parsebytes(content[: header_end(content)])
    found = _MESSAGE_ID.search(_field(message, "Message-ID"))
    return Headers(
        message_id=found.group(1) if found else "",
        subject=" ".join(_decoded(_field(message, "Subject")).split())[:500],
        sent_at=parse_mail_date(_field(message, "Date")),
        participants=_participants(message),
        is_hidden=_is_hidden(message),
    )


def digest_of(content: bytes) -> str:
    """Hash of a message without the headers that mail programs change."""
    at = header_end(content)
    header = _MUTABLE.sub(b"", content[:at])
    return hashlib.sha256(header + content[at:]).hexdigest()[:32]


def with_ids(candidates: Iterable[Candidate]) -> dict[str, Candidate]:
    """Decide under which external id each message is known.

    The id must outlive a move to another folder, so no folder is part of it: it is the Message-ID where all
    messages that carry it are copies of one, else a hash of the content. Of copies, the first place counts.
    """
    by_message_id: defaultdict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda candidate: candidate.place):
        by_message_id[candidate.headers.message_id].append(candidate)
    chosen: dict[str, Candidate] = {}
    for message_id, group in by_message_id.items():
        if message_id and (len(group) == 1 or len({candidate.digest() for candidate in group}) == 1):
            chosen[f"{message_id}.eml"] = group[0]
            continue
        for candidate in group:
            chosen.setdefault(f"sha256-{candidate.digest()}.eml", candidate)
    return chosen


def _field(message: Message, name: str) -> str:
    return str(message.get(name, ""))[:_MAX_FIELD]


def _decoded(value: str) -> str:
    """Encoded words (RFC 2047) decoded; as written when they are broken."""
    try:
        return str(make_header(decode_header(value)))
    except (ValueError, LookupError, MessageError):
        return value


def _participants(message: Message) -> tuple[str, ...]:
    fields = [
        str(value)[:_MAX_FIELD] for name in ("From", "To", "Cc") for value in message.get_all(name, [])[:10]
    ]
    try:
        addresses = getaddresses(fields)
    except (ValueError, LookupError, TypeError, RecursionError):  # what cannot be read lets nobody in
        return ()
    return tuple(dict.fromkeys(address for _, address in addresses if "@" in address))


def _is_hidden(message: Message) -> bool:
    """Whether another program's mark says draft, junk or deleted."""
    try:
        mozilla = int(_field(message, "X-Mozilla-Status") or "0", 16)
    except ValueError:
        mozilla = 0
    marks = set(_field(message, "X-Status"))
    return bool(
        mozilla & _MOZILLA_DELETED
        or marks & {"D", "T"}
        or _field(message, "X-Unsent").strip() == "1"
        or _GMAIL_HIDDEN.search(_decoded(_field(message, "X-Gmail-Labels")))
    )
