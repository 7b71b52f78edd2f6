"""A Slack export: threads and days as documents, names instead of ids, members as readers."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import FetchFailedError, InvalidSourceError, SourceUnavailableError, TooLargeError
from ingest.media_types import HTML, detect_media_type
from ingest.ports import Connector
from ingest.sources.slack_export import connector
from retrieval.access import Acl
from tests.ingest.sources.building import listed, make_parts, make_source
from tests.ingest.sources.slack_exports import START, message, write_export, zipped
from tests.make import make_acl


def _connector(location: Path, tmp_path: Path, **options: Any) -> Connector:
    return connector(make_source("slack_export", location, **options), make_parts(tmp_path / "work"))


def _text(tmp_path: Path, *messages: dict[str, Any], **options: Any) -> str:
    """The one document that these messages of #general make, as text."""
    slack = _connector(write_export(tmp_path / "export", {"general": list(messages)}), tmp_path, **options)
    (external_id,) = listed(slack)
    return slack.fetch(external_id).decode()


def test_threads_and_days_are_documents(tmp_path: Path) -> None:
    """A thread is one document even when it spans days; what is in no thread is grouped by channel and day."""
    thread = f"{START}.000100"
    export = write_export(
        tmp_path / "export",
        {
            "general": [
                message(0, "Where is the form?", thread_ts=thread, reply_count=2),
                message(5, "Unrelated"),
                message(60, "In the wiki.", "U2", thread_ts=thread),
                message(90_000, "Thanks!", thread_ts=thread, subtype="thread_broadcast"),
                message(90_001, "A new day"),
            ]
        },
    )
    slack = _connector(export, tmp_path, workspace_domain="acme.slack.com")
    documents = listed(slack)
    assert set(documents) == {
        f"C1/thread-{thread}.html",
        "C1/2025-11-24.html",
        "C1/2025-11-25.html",
    }
    item = documents[f"C1/thread-{thread}.html"]
    assert item.title == "#general: Where is the form?"
    assert item.url == f"https://acme.slack.com/archives/C1/p{START}000100"
    assert item.modified_at.timestamp() == pytest.approx(START + 90_000)
    page = slack.fetch(item.external_id).decode()
    assert page.index("Where is the form?") < page.index("In the wiki.") < page.index("Thanks!")
    assert "<strong>Ola Berg</strong>, 2025-11-24 16:01 UTC" in page
    assert "Unrelated" not in page
    assert detect_media_type(page.encode(), item.external_id) == HTML


def test_markup_is_resolved_and_escaped(tmp_path: Path) -> None:
    """Mentions, links, code and entities come out as a reader saw them, and nothing as live markup."""
    page = _text(
        tmp_path,
        message(
            0,
            "<@U2> see <https://example.org/a?b=1&amp;c=2|the page>, *now* &lt;script&gt; `x &lt; 1`\n"
            "```if a &lt; b:\n  *go*```\n<!here> <!subteam^S1|@ops> <#C2|old-name> <mailto:a@b.c>"
            " <javascript:alert(1)|click> <https://files.slack.com/f?t=xoxe-1-2|secret>",
        ),
    )
    assert "@Ola Berg see" in page
    assert '<a href="https://example.org/a?b=1&amp;c=2">the page</a>' in page
    assert "<strong>now</strong> &lt;script&gt; <code>x &lt; 1</code>" in page
    assert "<pre>if a &lt; b:\n  *go*</pre>" in page
    assert "@here @ops #random" in page
    assert "javascript" not in page
    assert "xoxe" not in page
    assert "click" in page


def test_names_of_private_channels_stay_private(tmp_path: Path) -> None:
    """A mention of a private channel in a public one shows what Slack shows to outsiders."""
    page = _text(tmp_path, message(0, "ask in <#G1|board> or <#G9|other>"))
    assert "board" not in page
    assert "other" not in page
    assert page.count("#private-channel") == 2


def test_edits_deletions_and_events(tmp_path: Path) -> None:
    """The text as it stands now counts; what was deleted and mere events do not."""
    page = _text(
        tmp_path,
        message(0, "old text"),
        message(1, "gone"),
        message(2, "<@U1> has joined the channel", subtype="channel_join"),
        message(3, "final", edited={"user": "U1", "ts": "1"}),
        message(4, "", subtype="message_changed", message={"ts": f"{START}.000100", "text": "new text"}),
        message(5, "", subtype="message_deleted", deleted_ts=f"{START + 1}.000100"),
    )
    assert "old text" not in page
    assert "new text" in page
    assert "gone" not in page
    assert "joined" not in page
    assert "(edited):<br>\nfinal" in page


def test_bots_and_files(tmp_path: Path) -> None:
    """A bot's attachments and blocks are its text; of files only the names are shown."""
    bot = {
        "type": "message",
        "subtype": "bot_message",
        "text": "",
        "username": "Builds",
        "ts": f"{START}.1",
        "attachments": [
            {"fallback": "no", "title": "Build 7", "fields": [{"title": "State", "value": "red"}]}
        ],
    }
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "From *blocks*"}}]
    url = "https://files.slack.com/x?t=xoxe-9"
    page = _text(
        tmp_path,
        bot,
        message(1, "", blocks=blocks),
        message(2, "", files=[{"name": "plan.pdf", "url_private": url, "preview": "inside"}]),
    )
    assert "<strong>Builds</strong>" in page
    assert "Build 7<br>\nState: red" in page
    assert "From <strong>blocks</strong>" in page
    assert "[file: plan.pdf]" in page
    assert "xoxe" not in page
    assert "inside" not in page


def test_readers_are_the_members(tmp_path: Path) -> None:
    """Public channels go to the workspace's group; private ones to known members; the rest to the owner only."""
    days = {
        name: [message(0, "hello")]
        for name in ("general", "board", "unknown-members", "D1", "mpdm-mara--ola--nomail-1", "canvases")
    }
    slack = _connector(write_export(tmp_path / "export", days), tmp_path)
    acls = {external_id.partition("/")[0]: item.acl for external_id, item in listed(slack).items()}
    mara, ola = "user:mara@example.org", "user:ola@example.org"
    assert acls == {
        "C1": make_acl("olga", allow=("group:s1/everyone",)),
        "G1": make_acl("olga", allow=(mara,)),
        "G2": make_acl("olga"),
        "D1": make_acl("olga", allow=(mara, ola)),
        "G3": make_acl("olga", allow=(mara, ola)),
        "canvases": make_acl("olga"),
    }


def test_public_channels_can_follow_the_source(tmp_path: Path) -> None:
    """With public_acl = source public channels have the source's own readers; private ones do not."""
    days = {"general": [message(0, "hello")], "board": [message(0, "hello")]}
    options = {"public_acl": "source", "user_ids": "local_part", "email_domains": ["example.org"]}
    slack = _connector(write_export(tmp_path / "export", days), tmp_path, **options)
    acls: dict[str, Acl | None] = {i.partition("/")[0]: item.acl for i, item in listed(slack).items()}
    assert acls == {"C1": None, "G1": make_acl("olga", allow=("user:mara",))}


def test_a_missing_list_of_private_channels_opens_nothing(tmp_path: Path) -> None:
    """A folder that no list names is read by the owner only; a list that is damaged stops the listing."""
    days = {"board": [message(0, "hello")]}
    export = write_export(tmp_path / "export", days, groups=None)
    assert [item.acl for item in listed(_connector(export, tmp_path)).values()] == [make_acl("olga")]
    (export / "groups.json").write_text("[{")
    with pytest.raises(SourceUnavailableError, match=r"groups\.json"):
        listed(_connector(export, tmp_path))


def test_a_new_member_changes_the_fingerprint(tmp_path: Path) -> None:
    """Text or readers that change are noticed; anything else in the export is not."""
    days = {"board": [message(0, "hello")]}
    prints = []
    for number, members in enumerate((["U1"], ["U1", "U4"], ["U1", "U2"])):
        groups = [{"id": "G1", "name": "board", "members": members}]
        export = write_export(tmp_path / str(number), days, groups=groups)
        prints += [item.fingerprint for item in listed(_connector(export, tmp_path)).values()]
    assert prints[0] == prints[1] != prints[2]


def test_zip_and_folder_are_the_same(tmp_path: Path) -> None:
    """A zip, also one with everything in a folder inside, lists and fetches as the unpacked export does."""
    export = write_export(tmp_path / "export", {"general": [message(0, "hello")]})
    plain = _connector(export, tmp_path)
    for prefix in ("", "acme export/"):
        packed = _connector(zipped(export, tmp_path / "a.zip", prefix), tmp_path)
        assert listed(packed) == listed(plain)
        assert packed.fetch("C1/2025-11-24.html") == plain.fetch("C1/2025-11-24.html")


def test_a_fetch_needs_no_listing_before(tmp_path: Path) -> None:
    """Another process can fetch, and sees the export as it is now; what is gone or too large says so."""
    export = write_export(tmp_path / "export", {"general": [message(0, "hello")]})
    slack = _connector(export, tmp_path)
    assert b"hello" in slack.fetch("C1/2025-11-24.html")
    write_export(export, {"general": [message(0, "changed")]})
    assert b"changed" in slack.fetch("C1/2025-11-24.html")
    with pytest.raises(FetchFailedError):
        slack.fetch("C1/2025-11-25.html")
    small = connector(make_source("slack_export", export), make_parts(tmp_path / "work", max_file_bytes=10))
    with pytest.raises(TooLargeError):
        small.fetch("C1/2025-11-24.html")


def test_a_hostile_zip_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    """A bomb, a damaged file, something that is no export: an error each, and no document."""
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("channels.json", b" " * (64 << 20))
    with pytest.raises(SourceUnavailableError, match="unpack"):
        listed(_connector(tmp_path / "bomb.zip", tmp_path))
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04 no")
    (tmp_path / "empty").mkdir()
    for name in ("no.zip", "empty", "nowhere"):
        with pytest.raises(SourceUnavailableError):
            listed(_connector(tmp_path / name, tmp_path))


@pytest.mark.parametrize(
    "options", [{"workspace_domain": "https://acme"}, {"public_acl": "all"}, {"publik_acl": "source"}]
)
def test_bad_options_are_named(tmp_path: Path, options: dict[str, Any]) -> None:
    """An option that is wrong or misspelt is an error that names it."""
    with pytest.raises(InvalidSourceError, match=next(iter(options))):
        _connector(tmp_path, tmp_path, **options)
