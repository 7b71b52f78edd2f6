"""Internet mail (RFC 5322 and MIME)."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import Message

from ingest.errors import CorruptError, EncryptedError
from ingest.parsers.dates import parse_mail_date
from ingest.parsers.html import read_markup
from ingest.parsers.part import Draft, Part, Source, paragraph
from ingest.parsers.text import read_plain
from ingest.parsers.text_decoding import decode_text

_SHOWN = ("Subject", "From", "To", "Cc", "Date")
_MAX_DEPTH = 20


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
