"""Mail in files: ids that outlive moves, folders left out, who may read, bytes as they were sent."""

from __future__ import annotations

import mailbox
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import FetchFailedError, InvalidSourceError, SourceUnavailableError, TooLargeError
from ingest.media_types import EML, detect_media_type
from ingest.ports import Connector
from ingest.sources.mail import connector
from tests.ingest.sources.building import listed, make_parts, make_source
from tests.make import make_acl


def make_message(number: int = 1, *, message_id: str | None = "", **headers: str) -> EmailMessage:
    """A message from Mara to Ola with the text `Body <number>`; `message_id` None leaves the header out."""
    text = headers.pop("text", f"Body {number}\n\nFrom here on it is quoted.\n")
    message = EmailMessage()
    message["From"] = headers.pop("From", "Mara <mara@example.org>")
    message["To"] = headers.pop("To", "ola@example.org")
    message["Subject"] = headers.pop("Subject", f"Subject {number}")
    message["Date"] = "Mon, 23 Nov 2026 12:00:00 +0000"
    if message_id is not None:
        message["Message-ID"] = message_id or f"<m{number}@example.org>"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message


def _mbox(path: Path, *messages: EmailMessage) -> Path:
    box = mailbox.mbox(path)
    for message in messages:
        box.add(message)
    box.close()
    return path


def _connector(location: Path, tmp_path: Path, **options: Any) -> Connector:
    return connector(make_source("mail", location, **options), make_parts(tmp_path))


def test_a_message_is_a_document_with_its_facts(tmp_path: Path) -> None:
    """Title, date and id come from the headers, the bytes are the message, and they are told to be mail."""
    path = _mbox(tmp_path / "a.mbox", make_message(1, Subject="Größe der Räume"), make_message(2))
    mail = _connector(path, tmp_path)
    documents = listed(mail)
    assert set(documents) == {"m1@example.org.eml", "m2@example.org.eml"}
    first = documents["m1@example.org.eml"]
    assert (first.title, first.modified_at.isoformat()) == ("Größe der Räume", "2026-11-23T12:00:00+00:00")
    assert first.acl is None
    content = mail.fetch(first.external_id)
    assert b"\nFrom here on it is quoted." in content.replace(b"\r", b"")
    assert b"Body 2" not in content
    assert detect_media_type(content, first.external_id) == EML


def test_a_reused_message_id_names_nobody(tmp_path: Path) -> None:
    """Two different messages under one Message-ID, and one without any, are known by their content."""
    path = _mbox(
        tmp_path / "a.mbox",
        make_message(1, message_id="<same@example.org>"),
        make_message(2, message_id="<same@example.org>"),
        make_message(3, message_id=None),
    )
    mail = _connector(path, tmp_path)
    documents = listed(mail)
    assert len(documents) == 3
    assert all(external_id.startswith("sha256-") for external_id in documents)
    texts = [mail.fetch(external_id) for external_id in documents]
    assert [sum(f"Body {n}".encode() in text for text in texts) for n in (1, 2, 3)] == [1, 1, 1]


def test_a_read_mark_changes_nothing(tmp_path: Path) -> None:
    """A mail program that notes in the file that a message was read does not make it a new document."""
    before = listed(_connector(_mbox(tmp_path / "a.mbox", make_message(1, message_id=None)), tmp_path))
    marked = _mbox(tmp_path / "b.mbox", make_message(1, message_id=None, Status="RO", X_Keywords="seen"))
    after = listed(_connector(marked, tmp_path))
    assert {(d.external_id, d.fingerprint) for d in before.values()} == {
        (d.external_id, d.fingerprint) for d in after.values()
    }


def test_folders_of_drafts_junk_and_trash_are_left_out(tmp_path: Path) -> None:
    """Special folders, and what lies below them, are read only when they are named."""
    names = ("Inbox", "Sent", "Drafts", "Trash", "Junk E-mail", "SPAM", "Gelöschte Elemente", "Archive")
    (tmp_path / "mail" / "Trash").mkdir(parents=True)
    for number, name in enumerate(names):
        _mbox(tmp_path / "mail" / f"{name}.mbox", make_message(number))
    _mbox(tmp_path / "mail" / "Trash" / "2023.mbox", make_message(99))
    documents = listed(_connector(tmp_path / "mail", tmp_path))
    assert {document.title for document in documents.values()} == {"Subject 0", "Subject 1", "Subject 7"}
    named = listed(_connector(tmp_path / "mail", tmp_path, folders=["Drafts"]))
    assert {document.title for document in named.values()} == {"Subject 2"}


def test_marks_of_drafts_and_deleted_messages_count(tmp_path: Path) -> None:
    """An export that has everything in one file says in headers what was a draft, junk or deleted."""
    path = _mbox(
        tmp_path / "a.mbox",
        make_message(1, X_Gmail_Labels="Inbox,Important"),
        make_message(2, X_Gmail_Labels="Drafts"),
        make_message(3, X_Gmail_Labels="Opened,Spam"),
        make_message(4, X_Mozilla_Status="0009"),
        make_message(5, X_Unsent="1"),
        make_message(6, X_Status="D"),
        make_message(7, X_Gmail_Labels="Trashcan design"),
    )
    documents = listed(_connector(path, tmp_path))
    assert {document.title for document in documents.values()} == {"Subject 1", "Subject 7"}


def test_participants_read_and_nobody_else(tmp_path: Path) -> None:
    """With acl_from = participants the source's own list does not apply; strangers' addresses are no users."""
    message = make_message(1, From="Mara <Mara@Example.org>", To="ola@example.org, x@evil.test", Cc="broken")
    mail = connector(
        make_source(
            "mail",
            _mbox(tmp_path / "a.mbox", message, make_message(2, From="garbage <<", To=",,;")),
            acl=make_acl("olga", allow=("group:staff",), deny=("user:eve",)),
            acl_from="participants",
            user_ids="local_part",
            email_domains=["example.org"],
        ),
        make_parts(tmp_path),
    )
    documents = listed(mail)
    assert documents["m1@example.org.eml"].acl == make_acl(
        "olga", allow=("user:mara", "user:ola"), deny=("user:eve",)
    )
    assert documents["m2@example.org.eml"].acl == make_acl("olga", deny=("user:eve",))


def test_maildir_ids_outlive_flags_and_moves(tmp_path: Path) -> None:
    """Reading, flagging or filing a message keeps its id, and it can be fetched without a new listing."""
    box = mailbox.Maildir(tmp_path / "Maildir")
    key = box.add(make_message(1))
    box.add_folder("Clients.Acme")
    mail = _connector(tmp_path / "Maildir", tmp_path)
    before = listed(mail)
    path = next((tmp_path / "Maildir" / "new").iterdir())
    path = path.rename(tmp_path / "Maildir" / "cur" / f"{key}:2,S")
    assert b"Body 1" in mail.fetch("m1@example.org.eml")
    assert listed(mail) == before
    path.rename(tmp_path / "Maildir" / ".Clients.Acme" / "cur" / f"{key}:2,S")
    assert b"Body 1" in mail.fetch("m1@example.org.eml")
    assert listed(mail) == before


def test_maildir_drafts_and_trash_are_left_out(tmp_path: Path) -> None:
    """Folders by name and messages by flag: neither drafts nor what was thrown away is listed."""
    box = mailbox.Maildir(tmp_path / "Maildir")
    box.add(make_message(1))
    for number, flags in ((2, "D"), (3, "ST"), (4, "RS")):
        flagged = mailbox.MaildirMessage(make_message(number))
        flagged.set_subdir("cur")
        flagged.set_flags(flags)
        box.add(flagged)
    box.add_folder("Trash.Old").add(make_message(5))
    box.add_folder("Drafts").add(make_message(6))
    box.add_folder("Sent").add(make_message(7))
    titles = {d.title for d in listed(_connector(tmp_path / "Maildir", tmp_path)).values()}
    assert titles == {"Subject 1", "Subject 4", "Subject 7"}


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A missing place, a file that is no mbox, a message that is gone or too large: each says so."""
    with pytest.raises(SourceUnavailableError):
        listed(_connector(tmp_path / "nowhere", tmp_path))
    (tmp_path / "notes.txt").write_text("no mail\n")
    with pytest.raises(SourceUnavailableError, match="not an mbox"):
        listed(_connector(tmp_path / "notes.txt", tmp_path))
    mail = _connector(_mbox(tmp_path / "a.mbox", make_message(1)), tmp_path)
    with pytest.raises(FetchFailedError):
        mail.fetch("m9@example.org.eml")
    small = connector(make_source("mail", tmp_path / "a.mbox"), make_parts(tmp_path, max_file_bytes=50))
    assert len(listed(small)) == 1
    with pytest.raises(TooLargeError):
        small.fetch("m1@example.org.eml")


def test_a_place_in_memory_is_checked_before_it_is_believed(tmp_path: Path) -> None:
    """When the file was rewritten since the listing, the right message is found, not what lies there now."""
    path = _mbox(tmp_path / "a.mbox", make_message(1), make_message(2))
    mail = _connector(path, tmp_path)
    listed(mail)
    path.unlink()
    _mbox(path, make_message(2), make_message(1))
    assert b"Body 1" in mail.fetch("m1@example.org.eml")


@pytest.mark.parametrize(
    ("location", "options", "names"),
    [
        ("imaps://mail.example.org", {"user": "u"}, "password_secret"),
        ("imaps://mail.example.org", {"password_secret": "p"}, "user"),
        ("imaps://u:secret@mail.example.org", {"password_secret": "p"}, "password"),
        ("imaps://mail.example.org", {"user": "u", "password_secret": "p", "security": "plain"}, "security"),
        ("imap://mail.example.org", {"user": "u", "password_secret": "p", "security": "none"}, "security"),
        ("pop3://mail.example.org", {"user": "u", "password_secret": "p"}, "location"),
        ("/srv/mail", {"acl_form": "participants"}, "acl_form"),
        ("/srv/mail", {"acl_from": "participants", "user_ids": "local_part"}, "email_domains"),
        ("/srv/mail", {"folders": "INBOX"}, "folders"),
    ],
)
def test_bad_options_are_named(tmp_path: Path, location: str, options: dict[str, Any], names: str) -> None:
    """An option that is wrong, missing or misspelt is an error that names it, never a guess."""
    with pytest.raises(InvalidSourceError, match=names):
        connector(make_source("mail", location, **options), make_parts(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("To", "(" * 16_000),
        ("From", "[(" * 8_000),
        ("Subject", "=?u\x83f-8?b?w6Q=?= =?utf-8?b?w6Q|?="),
        ("Date", "Mon, 99 Foo 99999999999999 99:99:99 +99999999"),
        ("X-Mozilla-Status", "zz"),
        ("Message-ID", "<" * 16_000),
    ],
)
def test_a_hostile_header_stops_nobody_else(tmp_path: Path, name: str, value: str) -> None:
    """One message that chokes a header parser is listed like any other, with its odd header as it stands."""
    good = make_message(1, text="Body 1\n").as_bytes()
    bad = f"{name}: {value}\nX-Other: 1\n\nBody 2\n".encode("latin-1")
    path = tmp_path / "a.mbox"
    path.write_bytes(b"From a\n" + bad + b"\nFrom b\n" + good + b"\n")
    mail = _connector(path, tmp_path, acl_from="participants")
    documents = listed(mail)
    assert len(documents) == 2
    (odd,) = set(documents) - {"m1@example.org.eml"}
    assert documents[odd].acl == make_acl("olga")
    assert b"Body 2" in mail.fetch(odd)
