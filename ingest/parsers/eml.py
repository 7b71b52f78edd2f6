"""Internet mail (RFC 5322 and MIME)."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import Message
from functools import partial

from ingest.errors import CorruptError, EncryptedError
from ingest.parsers.dates import parse_mail_date
from ingest.parsers.html import read_markup
from ingest.parsers.part import Draft, PackedMember, Part, Source, paragraph
from ingest.parsers.text import read_plain
from ingest.parsers.text_decoding import decode_text

_SHOWN = ("Subject", "From", "To", "Cc", "Date")
_MAX_DEPTH = 20
_SILENT = ("image", "audio", "video")
_SIGNATURES = ("application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature")


def read(source: Source) -> Draft:
    """Headers as the first block, then the body (plain text before HTML), then the names of attachments.

    Raises:
        EncryptedError: The message is S/MIME or PGP encrypted.
        CorruptError: Parts are nested too deeply.
    """
    message = email.message_from_bytes(source.content, policy=email.policy.default)
    kind = message.get_content_type()
    if kind == "multipart/encrypted" or (
        kind.endswith("pkcs7-mime") and "enveloped" in str(message.get_param("smime-type", ""))
    ):
        raise EncryptedError("the message is encrypted")
    leaves = list(_leaves(message, 0))
    return Draft(
        _parts(message, leaves),
        _header(message, "Subject"),
        parse_mail_date(_header(message, "Date")),
        {"author": _header(message, "From")},
        members=(PackedMember(name, partial(_content, leaf)) for name, leaf in _attachments(leaves)),
    )


def _header(message: Message, name: str) -> str:
    """A header decoded; one the parser chokes on as it stands."""
    try:
        return str(message.get(name, ""))
    except (ValueError, IndexError, AttributeError, TypeError, KeyError):
        return next((str(value) for key, value in message.raw_items() if key.lower() == name.lower()), "")


def _leaves(message: Message, depth: int) -> Iterator[Message]:
    if depth > _MAX_DEPTH:
        raise CorruptError(f"the message's parts are nested more than {_MAX_DEPTH} deep")
    payload = message.get_payload()
    if isinstance(payload, list) and message.get_content_type() != "message/rfc822":
        for part in payload:
            if isinstance(part, Message):
                yield from _leaves(part, depth + 1)
    else:
        yield message


def _parts(message: Message, leaves: list[Message]) -> Iterator[Part]:
    shown = ((name, " ".join(_header(message, name).split())) for name in _SHOWN)
    yield paragraph("\n".join(f"{name}: {value}" for name, value in shown if value))
    body = [leaf for leaf in leaves if leaf.get_content_disposition() != "attachment"]
    plain = [
        text for leaf in body if leaf.get_content_type() == "text/plain" and (text := _text(leaf)).strip()
    ]
    if plain:
        for text in plain:
            yield from read_plain(text)
    else:
        for leaf in body:
            if leaf.get_content_type() == "text/html":
                yield from read_markup(_text(leaf)).parts
    names = [name for leaf in leaves if (name := _file_name(leaf))]
    if names:
        yield paragraph(f"Attachments: {', '.join(names)}")


def _attachments(leaves: list[Message]) -> Iterator[tuple[str, Message]]:
    """Attached files and messages with their names; pictures, sound and signatures have no text to find."""
    for leaf in leaves:
        kind = leaf.get_content_type()
        if kind == "message/rfc822":
            inner = leaf.get_payload()
            first = inner[0] if isinstance(inner, list) and inner else None
            subject = _header(first, "Subject") if isinstance(first, Message) else ""
            yield _file_name(leaf) or f"{' '.join(subject.split())[:80] or 'message'}.eml", leaf
        elif leaf.get_content_maintype() in _SILENT or kind in _SIGNATURES:
            continue
        elif (name := _file_name(leaf)) or leaf.get_content_disposition() == "attachment":
            yield name or "attachment", leaf


def _content(leaf: Message) -> bytes:
    payload = leaf.get_payload()
    try:
        if isinstance(payload, list):
            return b"\n".join(part.as_bytes() for part in payload[:1] if isinstance(part, Message))
        content = leaf.get_payload(decode=True)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CorruptError(f"the attachment cannot be decoded: {type(error).__name__}") from error
    return content if isinstance(content, bytes) else b""


def _file_name(leaf: Message) -> str:
    try:
        return leaf.get_filename() or ""
    except (ValueError, IndexError, AttributeError, TypeError, LookupError):
        return ""


def _text(leaf: Message) -> str:
    payload = leaf.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return payload.decode(leaf.get_content_charset() or "utf-8")
    except (LookupError, UnicodeError, ValueError):
        return decode_text(payload)
