"""A folder is listed with the access lists of the nearest `.refdesk.toml`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.errors import FetchFailedError, SourceUnavailableError, TooLargeError
from ingest.ports import ListedDocument
from ingest.sources.folder import FolderConnector
from retrieval.access import UserId
from tests.make import make_acl


def _connector(root: Path) -> FolderConnector:
    return FolderConnector(root, default_owner=UserId("olga"), max_file_bytes=100)


def _listed(root: Path) -> dict[str, ListedDocument]:
    return {item.external_id: item for item in _connector(root).list_documents()}


def test_nearest_rules_count(tmp_path: Path) -> None:
    """A folder without rules takes its parent's; a folder with rules takes nothing from above."""
    (tmp_path / "hr" / "deep").mkdir(parents=True)
    (tmp_path / ".refdesk.toml").write_text('[acl]\nallow = ["group:everyone"]\n')
    (tmp_path / "hr" / ".refdesk.toml").write_text('owner = "mara"\n[acl]\nallow = ["group:hr"]\n')
    for place in ("a.md", "hr/b.md", "hr/deep/c.md"):
        (tmp_path / place).write_text("x")
    acls = {name: item.acl for name, item in _listed(tmp_path).items()}
    hr = make_acl("mara", allow=("group:hr",))
    assert acls == {"a.md": make_acl("olga", allow=("group:everyone",)), "hr/b.md": hr, "hr/deep/c.md": hr}


def test_unreadable_rules_stop_the_listing(tmp_path: Path) -> None:
    """Rules that cannot be understood are an error: the parent's might let too many people in."""
    (tmp_path / ".refdesk.toml").write_text("[acl\n")
    with pytest.raises(SourceUnavailableError):
        _listed(tmp_path)


def test_document_facts(tmp_path: Path) -> None:
    """Title, tags and successor come from the rules file; a successor is named relative to the source."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "old.md").write_text("x")
    (tmp_path / "p" / ".refdesk.toml").write_text(
        '[documents."old.md"]\nsuperseded_by = "new.md"\ntags = ["travel"]\ntitle = "Old"\n'
    )
    item = _listed(tmp_path)["p/old.md"]
    assert (item.title, item.tags, item.superseded_by, item.acl) == ("Old", ("travel",), "p/new.md", None)


def test_labels_of_folders_and_files_add_up(tmp_path: Path) -> None:
    """What a folder states goes for all below it; a path that is listed by itself has the same."""
    (tmp_path / "p" / "q").mkdir(parents=True)
    (tmp_path / ".refdesk.toml").write_text('labels = ["hold"]\n')
    (tmp_path / "p" / ".refdesk.toml").write_text(
        'labels = ["No AI"]\n[documents."a.md"]\nlabels = ["retention:minutes"]\n'
    )
    for place in ("top.md", "p/a.md", "p/q/b.md"):
        (tmp_path / place).write_text("x")
    labels = {name: item.labels for name, item in _listed(tmp_path).items()}
    assert labels == {
        "top.md": ("hold",),
        "p/a.md": ("hold", "no-ai", "retention:minutes"),
        "p/q/b.md": ("hold", "no-ai"),
    }
    alone = {item.external_id: item.labels for item in _connector(tmp_path).list_paths(["p/a.md", "p/q"])}
    assert alone == {name: found for name, found in labels.items() if name != "top.md"}


@pytest.mark.parametrize(
    "rules", ['labels = ["noai"]', "labels = [1]", '[documents."not-there.md"]\nlabels = ["secret"]']
)
def test_a_label_that_there_is_not_stops_the_listing(tmp_path: Path, rules: str) -> None:
    """It would be without effect, and nobody would know."""
    (tmp_path / ".refdesk.toml").write_text(rules)
    with pytest.raises(SourceUnavailableError, match="there is no label"):
        _listed(tmp_path)


def test_hidden_files_and_links_are_left_out(tmp_path: Path) -> None:
    """Neither dot files nor symbolic links, which may lead anywhere, are documents."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("x")
    (tmp_path / "link.md").symlink_to("/etc/hostname")
    (tmp_path / "real.md").write_text("x")
    assert set(_listed(tmp_path)) == {"real.md"}


def test_a_copy_that_keeps_its_date_is_seen(tmp_path: Path) -> None:
    """Replacing a file by one of the same size and modification time changes the fingerprint."""
    path = tmp_path / "a.md"
    path.write_text("one")
    before = path.stat()
    first = _listed(tmp_path)["a.md"].fingerprint
    path.write_text("two")
    import os

    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _listed(tmp_path)["a.md"].fingerprint != first


def test_fetch_refuses_what_it_should(tmp_path: Path) -> None:
    """Too large, gone, and outside the folder are three clear errors."""
    (tmp_path / "big.md").write_text("x" * 101)
    connector = _connector(tmp_path)
    with pytest.raises(TooLargeError):
        connector.fetch("big.md")
    with pytest.raises(FetchFailedError):
        connector.fetch("gone.md")
    with pytest.raises(FetchFailedError):
        connector.fetch("../../etc/hostname")


def test_missing_folder_is_no_empty_listing(tmp_path: Path) -> None:
    """A folder that is not there is an error, so nothing gets deleted."""
    with pytest.raises(SourceUnavailableError):
        _listed(tmp_path / "absent")


def test_a_part_is_listed_as_in_the_whole(tmp_path: Path) -> None:
    """A file, a folder and a path that is gone, with the access lists that the folders above give them."""
    for place in ("a.md", "p/b.md", "p/q/c.md", "p/q/d.md", "p/.hidden/e.md", "r/f.md"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("x")
    (tmp_path / ".refdesk.toml").write_text('[acl]\nallow = ["group:everyone"]\n')
    (tmp_path / "p" / ".refdesk.toml").write_text('owner = "mara"\n[documents."b.md"]\ntags = ["t"]\n')
    (tmp_path / "l").symlink_to(tmp_path / "r")
    whole = _listed(tmp_path)
    wanted = ["p/q", "p/q/c.md", "p/b.md", "a.md", "gone.md", "p/.hidden", "l/f.md", "l"]
    part = list(_connector(tmp_path).list_paths(wanted))
    assert [item.external_id for item in part] == ["a.md", "p/b.md", "p/q/c.md", "p/q/d.md"]
    assert all(whole[item.external_id] == item for item in part)
