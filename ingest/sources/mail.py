"""Mail as a source: an mbox file, a folder of mbox files, a Maildir, or a mailbox on an IMAP server.

Each message is one document whose bytes are the message (RFC 5322). Options: docs/connectors.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from ingest.errors import FetchFailedError, InvalidSourceError, SourceError
from ingest.ports import Connector, ConnectorMemory, ConnectorParts, ListedDocument
from ingest.sources.identities import Identities, identities_from
from ingest.sources.mail_files import MaildirFolders, MboxFiles, is_maildir
from ingest.sources.mail_folders import FolderChoice
from ingest.sources.mail_headers import Candidate, digest_of, read_headers, with_ids
from ingest.sources.mail_imap import ImapAccess, ImapMailbox
from ingest.sources.options import SourceOptions
from retrieval.access import Acl
from retrieval.corpus import Source

OPTIONS = (
    *("folders", "acl_from", "user_ids", "email_domains"),
    *("user", "password_secret", "security", "ca_file"),
)
_PORTS = {"tls": 993, "starttls": 143, "plain": 143}
_TIMEOUT_S = 60.0


class MailStore(Protocol):
    """Where messages lie."""

    def candidates(self) -> Iterator[Candidate]:
        """Every message; `SourceUnavailableError` when they cannot all be seen."""
        ...

    def read(self, place: tuple[str | int, ...]) -> bytes:
        """The bytes at a candidate's place; `FetchFailedError` when they are not there."""
        ...


class MailConnector:
    """Implements `ingest.ports.Connector` for a mail store."""

    def __init__(
        self, store: MailStore, memory: ConnectorMemory, *, default_acl: Acl, participants: Identities | None
    ) -> None:
        """List the messages of a store.

        Args:
            store: Where they lie.
            memory: Keeps where each message was at the last listing.
            default_acl: The source's own access list.
            participants: How addresses become users who may read a message; None leaves it to `default_acl`.
        """
        self._store = store
        self._memory = memory
        self._default_acl = default_acl
        self._participants = participants

    def list_documents(self) -> Iterator[ListedDocument]:
        """See `Connector.list_documents`. The external id outlives a move to another folder."""
        known = with_ids(self._store.candidates())
        self._memory.save({"places": {external_id: item.place for external_id, item in known.items()}})
        for external_id, item in known.items():
            yield ListedDocument(
                external_id=external_id,
                fingerprint=item.fingerprint,
                title=item.headers.subject or "(no subject)",
                url="",
                modified_at=item.headers.sent_at or item.received_at,
                size_bytes=item.size_bytes,
                acl=self._acl(item),
            )

    def fetch(self, external_id: str) -> bytes:
        """See `Connector.fetch`."""
        place = self._memory.load().get("places", {}).get(external_id)
        if place is not None:
            try:
                content = self._store.read(tuple(place))
            except FetchFailedError:
                content = b""
            if content and self._is(external_id, content):
                return content
        return self._store.read(self._place_of(external_id))

    def _place_of(self, external_id: str) -> tuple[str | int, ...]:
        """Where the message is now, found by looking through the whole store."""
        try:
            found = with_ids(self._store.candidates()).get(external_id)
        except SourceError as error:
            raise FetchFailedError(str(error)) from error
        if found is None:
            raise FetchFailedError(f"the message {external_id} is gone")
        return found.place

    def _is(self, external_id: str, content: bytes) -> bool:
        """Whether these bytes are the message of that id.

        The digest of an IMAP message is made of headers and cannot be checked here; there the folder's
        UIDVALIDITY, which was compared, vouches for the place.
        """
        if external_id.startswith("sha256-"):
            return isinstance(self._store, ImapMailbox) or external_id == f"sha256-{digest_of(content)}.eml"
        return external_id == f"{read_headers(content).message_id}.eml"

    def _acl(self, item: Candidate) -> Acl | None:
        """Access: with `participants`, those in From, To and Cc and nobody else; else the source's own list."""
        if self._participants is None:
            return None
        users = (self._participants.user(address) for address in item.headers.participants)
        return Acl(
            owner=self._default_acl.owner,
            allow=frozenset(user for user in users if user is not None),
            deny=self._default_acl.deny,
        )


def connector(source: Source, parts: ConnectorParts) -> Connector:
    """The connector of a source of kind `mail`.

    Raises:
        InvalidSourceError: The location or an option cannot be understood.
    """
    options = SourceOptions(source, OPTIONS)
    by_participants = options.choice("acl_from", "source", ("source", "participants")) == "participants"
    identities = identities_from(source.id, options)
    return MailConnector(
        _store(source, options, parts),
        parts.memory,
        default_acl=source.default_acl,
        participants=identities if by_participants else None,
    )


def _store(source: Source, options: SourceOptions, parts: ConnectorParts) -> MailStore:
    folders = FolderChoice(frozenset(options.texts("folders")))
    limit = parts.max_file_bytes
    url = urlsplit(source.location) if "://" in source.location else None
    if url is not None:
        return ImapMailbox(_imap_access(url, options, parts), folders, max_message_bytes=limit)
    root = Path(source.location)
    if is_maildir(root):
        return MaildirFolders(root, folders, max_message_bytes=limit)
    return MboxFiles(root, folders, max_message_bytes=limit)


def _imap_access(url: SplitResult, options: SourceOptions, parts: ConnectorParts) -> ImapAccess:
    if url.scheme not in ("imap", "imaps") or not url.hostname:
        raise InvalidSourceError("the location of a mailbox is imaps://host or imap://host")
    if url.password is not None:
        raise InvalidSourceError("the location holds a password; name a secret in password_secret instead")
    security = options.choice("security", "tls", ("tls", "starttls", "plain"))
    if url.scheme == "imaps" and security != "tls":
        raise InvalidSourceError("the option security contradicts imaps://; write imap://")
    user = options.text("user") or unquote(url.username or "")
    secret = options.text("password_secret")
    if not user or not secret:
        raise InvalidSourceError("the options user and password_secret are needed for a mailbox")
    try:
        port = url.port or _PORTS[security]
    except ValueError as error:
        raise InvalidSourceError("the location's port is no number") from error
    return ImapAccess(
        host=url.hostname,
        port=port,
        security=security,
        ca_file=options.text("ca_file"),
        user=user,
        password=lambda: parts.secret(secret),
        timeout_s=_TIMEOUT_S,
    )
