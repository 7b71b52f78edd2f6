"""A mailbox on an IMAP server (RFC 3501), opened with EXAMINE and read with BODY.PEEK: nothing is marked read."""

from __future__ import annotations

import contextlib
import hashlib
import imaplib
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingest.errors import FetchFailedError, SourceUnavailableError, TooLargeError
from ingest.sources.imap_replies import FetchedMessage, Mailbox, parse_fetch, parse_list, shared_prefixes
from ingest.sources.mail_folders import FolderChoice
from ingest.sources.mail_headers import MAX_HEADER_BYTES, Candidate, read_headers

_BATCH = 200
_FIELDS = (
    "MESSAGE-ID SUBJECT FROM TO CC DATE STATUS X-STATUS X-UNSENT X-GMAIL-LABELS X-MOZILLA-STATUS RECEIVED"
)
_WANTED = f"(UID FLAGS RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER.FIELDS ({_FIELDS})]<0.{MAX_HEADER_BYTES}>)"
_HIDDEN_FLAGS = frozenset({"\\draft", "\\deleted"})
_VENDOR_ERRORS = (imaplib.IMAP4.error, OSError, EOFError)


@dataclass(frozen=True, slots=True)
class ImapAccess:
    """How to reach a mailbox.

    Attributes:
        security: `tls` from the first byte, `starttls`, or `plain`.
        ca_file: Certificates to trust instead of the system's; empty for those.
        password: Asked for at each login, never kept.
        timeout_s: Longest wait for one reply.
    """

    host: str
    port: int
    security: str
    ca_file: str
    user: str
    password: Callable[[], str]
    timeout_s: float


class ImapMailbox:
    """Reads one user's mailbox."""

    def __init__(self, access: ImapAccess, choice: FolderChoice, *, max_message_bytes: int) -> None:
        """Read the chosen folders; messages over `max_message_bytes` are refused on fetch."""
        self._access = access
        self._choice = choice
        self._max_message_bytes = max_message_bytes

    def candidates(self) -> Iterator[Candidate]:
        """Every message that is neither hidden nor flagged as draft or deleted.

        Raises:
            SourceUnavailableError: The server cannot be reached, refuses, or stops half-way.
        """
        try:
            with self._session() as session:
                for mailbox in self._mailboxes(session):
                    yield from self._candidates_in(session, mailbox)
        except _VENDOR_ERRORS as error:
            raise SourceUnavailableError(f"{self._access.host} stopped: {_reason(error)}") from error

    def read(self, place: tuple[str | int, ...]) -> bytes:
        """The bytes of the message at a place that `candidates` gave.

        Raises:
            FetchFailedError: It is no longer there, or the server does not answer.
            TooLargeError: It is over the limit.
        """
        folder, validity, uid = str(place[0]), int(place[1]), int(place[2])
        try:
            with self._session() as session:
                mailbox = next((box for box in self._mailboxes(session) if box.name == folder), None)
                if mailbox is None or _examine(session, mailbox) != validity:
                    raise FetchFailedError("the message's folder is gone or was made anew")
                return self._body(session, uid)
        except _VENDOR_ERRORS as error:
            raise FetchFailedError(f"{self._access.host} stopped: {_reason(error)}") from error
        except SourceUnavailableError as error:
            raise FetchFailedError(str(error)) from error

    def _body(self, session: imaplib.IMAP4, uid: int) -> bytes:
        found = _fetch(session, str(uid), "(UID RFC822.SIZE)")
        if not found:
            raise FetchFailedError("the message is gone from its folder")
        if found[0].size_bytes > self._max_message_bytes:
            raise TooLargeError(f"the message is larger than {self._max_message_bytes // 2**20} MB")
        for message in _fetch(session, str(uid), "(UID BODY.PEEK[])"):
            if message.uid == uid and message.literal:
                return message.literal
        raise FetchFailedError("the server sent no text for the message")

    def _mailboxes(self, session: imaplib.IMAP4) -> list[Mailbox]:
        """Folders to read, in the order of their names. Other people's and shared ones only when named."""
        mailboxes = parse_list(_answer(session.list(), "LIST"))
        missing = {name for name in self._choice.named if name.upper() != "INBOX"} - {
            box.name for box in mailboxes
        }
        if missing:
            raise SourceUnavailableError(f"there is no folder {sorted(missing)[0]}")
        foreign = () if self._choice.named else self._foreign(session)
        chosen = (
            box
            for box in mailboxes
            if not box.name.startswith(foreign)
            and "\\noselect" not in box.uses
            and "\\nonexistent" not in box.uses
            and self._choice.takes(box.name, _inherited_uses(box, mailboxes), box.separator)
        )
        return sorted(chosen, key=lambda box: box.name)

    def _foreign(self, session: imaplib.IMAP4) -> tuple[str, ...]:
        if "NAMESPACE" not in session.capabilities:
            return ()
        return shared_prefixes(_answer(session.namespace(), "NAMESPACE"))

    def _candidates_in(self, session: imaplib.IMAP4, mailbox: Mailbox) -> Iterator[Candidate]:
        validity = _examine(session, mailbox)
        replies = _answer(session.uid("SEARCH", "ALL"), "SEARCH")
        uids = b" ".join(reply for reply in replies if isinstance(reply, bytes)).split()
        for start in range(0, len(uids), _BATCH):
            batch = b",".join(uids[start : start + _BATCH]).decode("ascii", "replace")
            for message in _fetch(session, batch, _WANTED):
                if _HIDDEN_FLAGS.isdisjoint(message.flags):
                    yield from _candidate(mailbox.name, validity, message)

    @contextlib.contextmanager
    def _session(self) -> Iterator[imaplib.IMAP4]:
        session = self._connect()
        try:
            session.login(self._access.user, self._access.password())
            yield session
        finally:
            with contextlib.suppress(*_VENDOR_ERRORS):
                session.logout()

    def _connect(self) -> imaplib.IMAP4:
        access = self._access
        limit = self._max_message_bytes + MAX_HEADER_BYTES
        if access.security == "tls":
            return _TlsSession(
                access.host, access.port, ssl_context=self._tls(), timeout=access.timeout_s, limit=limit
            )
        session = _PlainSession(access.host, access.port, timeout=access.timeout_s, limit=limit)
        if access.security == "starttls":
            try:
                session.starttls(self._tls())
            except _VENDOR_ERRORS:
                with contextlib.suppress(OSError):  # a failed handshake has closed the socket already
                    session.shutdown()
                raise
        return session

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._access.ca_file or None)


class _Bounded(imaplib.IMAP4):
    """Refuses to read a literal that the server announces longer than anything that was asked for."""

    limit: int

    def read(self, size: int) -> bytes:
        if size > self.limit:
            raise imaplib.IMAP4.abort(f"the server announced {size} bytes at once")
        return super().read(size)


class _PlainSession(_Bounded):
    def __init__(self, host: str, port: int, *, timeout: float, limit: int) -> None:
        self.limit = limit
        super().__init__(host, port, timeout)


class _TlsSession(_Bounded, imaplib.IMAP4_SSL):
    def __init__(
        self, host: str, port: int, *, ssl_context: ssl.SSLContext, timeout: float, limit: int
    ) -> None:
        self.limit = limit
        super().__init__(host, port, ssl_context=ssl_context, timeout=timeout)


def _examine(session: imaplib.IMAP4, mailbox: Mailbox) -> int:
    """Open a folder read-only; returns its UIDVALIDITY, under which a UID never means another message."""
    _answer(session.select(mailbox.quoted, readonly=True), "EXAMINE")
    values = session.response("UIDVALIDITY")[1]
    if not values or not isinstance(values[0], bytes) or not values[0].isdigit():
        raise SourceUnavailableError(f"the folder {mailbox.name} has no UIDVALIDITY")
    return int(values[0])


def _fetch(session: imaplib.IMAP4, uids: str, wanted: str) -> list[FetchedMessage]:
    return parse_fetch(_answer(session.uid("FETCH", uids, wanted), "FETCH"))


def _answer(reply: tuple[Any, Any], command: str) -> list[Any]:
    """What a command returned; anything but OK is an error."""
    status, lines = reply
    if status != "OK":
        raise imaplib.IMAP4.error(f"{command} was refused")
    return list(lines)


def _inherited_uses(mailbox: Mailbox, mailboxes: list[Mailbox]) -> frozenset[str]:
    """A folder's special uses and those of the folders above: what lies in the trash is trash."""
    if not mailbox.separator:
        return mailbox.uses
    above = (box.uses for box in mailboxes if mailbox.name.startswith(box.name + mailbox.separator))
    return mailbox.uses.union(*above)


def _candidate(folder: str, validity: int, message: FetchedMessage) -> Iterator[Candidate]:
    headers = read_headers(message.literal)
    if headers.is_hidden:
        return
    identity = message.literal + f"{message.received}-{message.size_bytes}".encode()
    digest = hashlib.sha256(identity).hexdigest()[:32]
    yield Candidate(
        headers,
        fingerprint=f"{validity}-{message.uid}-{message.size_bytes}",
        received_at=message.received or datetime.fromtimestamp(0, UTC),
        size_bytes=message.size_bytes,
        place=(folder, validity, message.uid),
        digest=lambda: digest,
    )


def _reason(error: BaseException) -> str:
    """What went wrong, in one short line; a server may say anything, so not for more than that."""
    return re.sub(r"[^ -~]+", " ", str(error))[:200] or type(error).__name__
