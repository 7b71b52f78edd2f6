"""A mailbox on a real IMAP server (Dovecot): read without a trace, complete or an error."""

from __future__ import annotations

import imaplib
import socket
import ssl
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import SourceUnavailableError
from ingest.ports import Connector
from ingest.sources.imap_replies import decode_utf7, parse_list, shared_prefixes
from ingest.sources.mail import connector
from tests.ingest.sources.building import listed, make_parts, make_source
from tests.ingest.sources.dovecot import PASSWORD, USER, Dovecot, is_installed, running_dovecot

needs_dovecot = pytest.mark.skipif(not is_installed(), reason="Debian's dovecot-imapd is not installed")


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Dovecot]:
    with running_dovecot() as server:
        yield server


@pytest.fixture(name="client")
def _client(server: Dovecot) -> Iterator[imaplib.IMAP4_SSL]:
    """A mail program of the user's, with an empty mailbox at the start."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    client = imaplib.IMAP4_SSL("127.0.0.1", server.tls_port, ssl_context=context)
    client.login(USER, PASSWORD)
    for folder in ("INBOX", "Papierschnipsel", "Entwurfsecke", "Filed"):
        if client.select(folder)[0] == "OK":
            client.store("1:*", "+FLAGS", "\\Deleted") if client.response("EXISTS")[1] != [b"0"] else None
            client.expunge()
            client.close()
    yield client
    client.logout()


def _message(number: int) -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "mara@example.org", "ola@example.org"
    message["Subject"], message["Message-ID"] = f"Subject {number}", f"<m{number}@example.org>"
    message["Date"] = "Mon, 23 Nov 2026 12:00:00 +0000"
    message.set_content(f"Body {number}\n")
    return message.as_bytes().replace(b"\n", b"\r\n")


def _connector(server: Dovecot, tmp_path: Path, **options: Any) -> Connector:
    facts: dict[str, Any] = {
        "user": USER,
        "password_secret": "mailbox",
        "ca_file": str(server.certificate),
        **options,
    }
    location = facts.pop("location", f"imaps://127.0.0.1:{server.tls_port}")
    return connector(make_source("mail", location, **facts), make_parts(tmp_path, mailbox=PASSWORD))


@needs_dovecot
@pytest.mark.services
def test_nothing_is_marked_read(server: Dovecot, client: imaplib.IMAP4_SSL, tmp_path: Path) -> None:
    """After a listing and a fetch the message is still recent and unseen, as if nobody had looked."""
    client.append("INBOX", "", "", _message(1))
    mail = _connector(server, tmp_path)
    documents = listed(mail)
    assert [(d.external_id, d.title) for d in documents.values()] == [("m1@example.org.eml", "Subject 1")]
    assert mail.fetch("m1@example.org.eml") == _message(1)
    assert client.status("INBOX", "(RECENT UNSEEN)")[1] == [b"INBOX (RECENT 1 UNSEEN 1)"]


@needs_dovecot
@pytest.mark.services
def test_special_folders_are_told_by_the_server(
    server: Dovecot, client: imaplib.IMAP4_SSL, tmp_path: Path
) -> None:
    """Trash and drafts under any name, folders below them, and flagged messages are left out."""
    client.create("Filed")
    client.create("Papierschnipsel/Alt")
    client.append("Filed", "", "", _message(1))
    client.append("Papierschnipsel", "", "", _message(2))
    client.append("Papierschnipsel/Alt", "", "", _message(3))
    client.append("Entwurfsecke", "", "", _message(4))
    client.append("INBOX", "\\Draft", "", _message(5))
    client.append("INBOX", "\\Deleted", "", _message(6))
    assert set(listed(_connector(server, tmp_path))) == {"m1@example.org.eml"}
    named = _connector(server, tmp_path, folders=["Papierschnipsel"])
    assert set(listed(named)) == {"m2@example.org.eml"}
    with pytest.raises(SourceUnavailableError, match="Nowhere"):
        listed(_connector(server, tmp_path, folders=["Nowhere"]))


@needs_dovecot
@pytest.mark.services
def test_a_moved_message_keeps_its_id(server: Dovecot, client: imaplib.IMAP4_SSL, tmp_path: Path) -> None:
    """Filed into another folder, a message is the same document, and is fetched from where it is now."""
    client.create("Filed")
    client.append("INBOX", "", "", _message(1))
    mail = _connector(server, tmp_path)
    assert set(listed(mail)) == {"m1@example.org.eml"}
    client.select("INBOX")
    client.copy("1", "Filed")
    client.store("1", "+FLAGS", "\\Deleted")
    client.expunge()
    assert mail.fetch("m1@example.org.eml") == _message(1)
    assert set(listed(mail)) == {"m1@example.org.eml"}


@needs_dovecot
@pytest.mark.services
def test_many_messages_come_in_batches(server: Dovecot, client: imaplib.IMAP4_SSL, tmp_path: Path) -> None:
    """A folder of more messages than one request asks for is listed whole."""
    for number in range(450):
        client.append("INBOX", "", "", _message(number))
    assert len(listed(_connector(server, tmp_path))) == 450


@needs_dovecot
@pytest.mark.services
def test_starttls_and_untrusted_certificates(
    server: Dovecot, client: imaplib.IMAP4_SSL, tmp_path: Path
) -> None:
    """STARTTLS works on the plain port; a certificate nobody vouches for stops both ways."""
    client.append("INBOX", "", "", _message(1))
    location = f"imap://127.0.0.1:{server.port}"
    assert len(listed(_connector(server, tmp_path, location=location, security="starttls"))) == 1
    with pytest.raises(SourceUnavailableError, match=r"(?i)certificate"):
        listed(_connector(server, tmp_path, location=location, security="starttls", ca_file=""))
    with pytest.raises(SourceUnavailableError, match=r"(?i)certificate"):
        listed(_connector(server, tmp_path, ca_file=""))
    with pytest.raises(SourceUnavailableError):
        listed(_connector(server, tmp_path, location=location))


@needs_dovecot
@pytest.mark.services
def test_wrong_and_missing_passwords(server: Dovecot, tmp_path: Path) -> None:
    """A refused login and a secret that does not exist end the listing without showing the password."""
    source = make_source(
        "mail",
        f"imaps://127.0.0.1:{server.tls_port}",
        user=USER,
        password_secret="mailbox",
        ca_file=str(server.certificate),
    )
    with pytest.raises(SourceUnavailableError) as refused:
        listed(connector(source, make_parts(tmp_path, mailbox="wrong-one")))
    assert "wrong-one" not in str(refused.value)
    with pytest.raises(SourceUnavailableError, match="no secret mailbox"):
        listed(connector(source, make_parts(tmp_path)))


@needs_dovecot
@pytest.mark.services
def test_a_listing_cut_half_way_is_an_error(tmp_path: Path) -> None:
    """A server without TLS is used only when an option says so; a connection that breaks is no short listing."""
    with running_dovecot(ssl=False) as server, imaplib.IMAP4("127.0.0.1", server.port) as client:
        client.login(USER, PASSWORD)
        for number in range(300):
            client.append("INBOX", "", "", _message(number))
        plain = f"imap://127.0.0.1:{server.port}"
        with pytest.raises(SourceUnavailableError):
            listed(_connector(server, tmp_path, location=plain, security="starttls", ca_file=""))
        assert len(listed(_connector(server, tmp_path, location=plain, security="plain"))) == 300
        with _cutting_proxy(server.port, after_bytes=60_000) as port:
            cut = _connector(server, tmp_path, location=f"imap://127.0.0.1:{port}", security="plain")
            with pytest.raises(SourceUnavailableError, match="stopped"):
                listed(cut)


class _cutting_proxy:
    """Passes one connection on to a port and closes it after so many bytes from the server."""

    def __init__(self, port: int, *, after_bytes: int) -> None:
        self._port, self._left = port, after_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._thread.join(timeout=10)

    def _serve(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._port))
        with near, far:
            sender = threading.Thread(target=self._pass_on, args=(near, far))
            sender.start()
            while self._left > 0 and (chunk := far.recv(4096)):
                near.sendall(chunk[: self._left])
                self._left -= len(chunk)
            near.shutdown(socket.SHUT_RDWR)
            sender.join()

    @staticmethod
    def _pass_on(near: socket.socket, far: socket.socket) -> None:
        while chunk := near.recv(4096):
            far.sendall(chunk)


def test_folder_names_are_decoded() -> None:
    """Names in modified UTF-7, quoted names and literals are what people see; the raw name goes back."""
    assert decode_utf7("Entw&APw-rfe &- mehr") == "Entwürfe & mehr"
    assert decode_utf7("kaputt&!!!-") == "kaputt&!!!-"
    plain, quoted, literal = parse_list(
        [
            b'(\\HasNoChildren \\Drafts) "/" Entw&APw-rfe',
            b'(\\HasNoChildren) "." "a \\"b\\""',
            (b"() NIL {5}", b"a{5}b"),
        ]
    )
    assert (plain.name, plain.quoted, plain.separator) == ("Entwürfe", '"Entw&APw-rfe"', "/")
    assert "\\drafts" in plain.uses
    assert (quoted.name, quoted.quoted) == ('a "b"', '"a \\"b\\""')
    assert (literal.name, literal.separator) == ("a{5}b", "")


def test_other_peoples_folders_are_told_by_their_prefix() -> None:
    """Prefixes of other users' and shared folders are found; the personal one never is."""
    reply = b'(("" "/")("#mine/" "/")) (("~" "/")) (("#shared/" "/")("#mine/" "/"))'
    assert shared_prefixes([reply]) == ("#shared/", "~")
    assert shared_prefixes([b'(("" "/")) NIL NIL']) == ()
