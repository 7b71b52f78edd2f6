"""Outlook messages, partitioned by `unstructured`; sender, recipients and attachment names by `oxmsg`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

from oxmsg import Message

from ingest.errors import EncryptedError
from ingest.parsers.dates import in_utc
from ingest.parsers.part import Draft, PackedMember, Part, Source, paragraph
from ingest.parsers.unstructured_elements import load_partitioner, to_parts

_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".emf", ".wmf", ".webp", ".svg", ".tif", ".tiff")


def read(source: Source) -> Draft:
    """Headers as the first block, then the body, then the names of attachments.

    Raises:
        EncryptedError: The message is S/MIME or PGP encrypted.
    """
    partition_msg = load_partitioner("msg")
    message = Message.load(io.BytesIO(source.content))
    kind = str(message.message_headers.get("Content-Type", ""))
    if "encrypted" in kind or "enveloped-data" in kind:
        raise EncryptedError("the message is encrypted")
    sent_at = message.sent_date
    headers = _headers(message, sent_at.isoformat() if sent_at else "")
    elements = partition_msg(file=io.BytesIO(source.content), process_attachments=False, languages=[""])
    return Draft(
        _parts(message, headers, elements),
        message.subject or "",
        in_utc(sent_at) if sent_at else None,
        {"author": message.sender or ""},
        members=_members(message),
    )


def _headers(message: Any, date: str) -> str:
    recipients = ", ".join(str(recipient.email_address or recipient.name) for recipient in message.recipients)
    fields = (("Subject", message.subject), ("From", message.sender), ("To", recipients), ("Date", date))
    return "\n".join(f"{name}: {' '.join(str(value).split())}" for name, value in fields if value)


def _parts(message: Any, headers: str, elements: list[Any]) -> Iterator[Part]:
    yield paragraph(headers)
    yield from to_parts(elements, level=_level)
    names = [str(attachment.file_name) for attachment in message.attachments if attachment.file_name]
    if names:
        yield paragraph(f"Attachments: {', '.join(names)}")


def _members(message: Any) -> Iterator[PackedMember]:
    """Attached files; pictures have no text to find, attached messages and links have no bytes of their own."""
    for attachment in message.attachments:
        name = str(attachment.file_name or "attachment")
        if not name.lower().endswith(_PICTURES) and attachment.file_bytes:
            yield PackedMember(name, partial(_content, attachment))


def _content(attachment: Any) -> bytes:
    return bytes(attachment.file_bytes)


def _level(element: Any) -> int:
    """HTML headings carry a depth; in a plain body, titles are guesses and count as text."""
    depth = element.metadata.category_depth
    return 0 if depth is None else int(depth) + 1
