"""A branch is listed by blob ids, with the access rules of its folders, whatever strange things it holds."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import FetchFailedError, InvalidSourceError, SourceUnavailableError, TooLargeError
from ingest.ports import ListedDocument
from ingest.sources.git import GitConnector, connector
from ingest.sources.git_pack import PackRefusedError, check_pack
from tests.fakes.connector_parts import JsonMemory, make_parts
from tests.fakes.git_repository import FILE, LINK, SUBMODULE, GitRepository, served_over_http
from tests.make import make_acl, make_source


@pytest.fixture
def origin(tmp_path: Path) -> GitRepository:
    """An empty repository on disk."""
    return GitRepository(tmp_path / "origin.git")


def _connector(origin: GitRepository | str, tmp_path: Path, **options: Any) -> GitConnector:
    location = origin if isinstance(origin, str) else str(origin.path)
    options.setdefault("protocols", ["file", "http"])
    parts = make_parts(tmp_path / "work", max_file_bytes=1000, memory=JsonMemory())
    return connector(make_source("git", location, **options), parts)


def _listed(connector: GitConnector) -> dict[str, ListedDocument]:
    return {item.external_id: item for item in connector.list_documents()}


def test_fingerprints_are_blob_ids(origin: GitRepository, tmp_path: Path) -> None:
    """A file that moves keeps its fingerprint, an edited one does not; links come from the template."""
    origin.commit({"a.md": b"one", "b/c d.md": b"two"})
    made = _connector(origin, tmp_path, url="https://git.example/x/{branch}/{path}", branch="main")
    first = _listed(made)
    assert {name: item.size_bytes for name, item in first.items()} == {"a.md": 3, "b/c d.md": 3}
    assert first["b/c d.md"].url == "https://git.example/x/main/b/c%20d.md"
    origin.commit({"moved.md": b"one", "b/c d.md": b"three"})
    second = _listed(made)
    assert second["moved.md"].fingerprint == first["a.md"].fingerprint
    assert second["b/c d.md"].fingerprint != first["b/c d.md"].fingerprint
    assert made.fetch("b/c d.md") == b"three"
    with pytest.raises(FetchFailedError):
        made.fetch("a.md")


def test_rules_of_folders_are_honoured(origin: GitRepository, tmp_path: Path) -> None:
    """The nearest rules count, also those above the subfolder that is read."""
    origin.commit(
        {
            ".refdesk.toml": b'labels = ["no-ai"]\n[acl]\nallow = ["group:everyone"]\n',
            "hr/.refdesk.toml": b'owner = "mara"\n[acl]\nallow = ["group:hr"]\n[documents."old.md"]\n'
            b'superseded_by = "new.md"\ntags = ["travel"]\ntitle = "Old"\nlabels = ["hold"]\n',
            "a.md": b"x",
            "hr/old.md": b"x",
            "hr/deep/c.md": b"x",
        }
    )
    hr = make_acl("mara", allow=("group:hr",))
    listed = _listed(_connector(origin, tmp_path))
    assert {name: item.acl for name, item in listed.items()} == {
        "a.md": make_acl("olga", allow=("group:everyone",)),
        "hr/old.md": hr,
        "hr/deep/c.md": hr,
    }
    old = listed["hr/old.md"]
    assert (old.title, old.tags, old.superseded_by) == ("Old", ("travel",), "hr/new.md")
    assert (old.labels, listed["a.md"].labels) == (("hold", "no-ai"), ("no-ai",))
    below = _listed(_connector(origin, tmp_path, subfolder="hr/deep"))
    assert below["hr/deep/c.md"].labels == ("no-ai",)
    assert {name: item.acl for name, item in below.items()} == {"hr/deep/c.md": hr}


@pytest.mark.parametrize("entry", [(FILE, b"[acl\n"), (FILE, b"\xff"), (LINK, b"/etc/hostname")])
def test_rules_that_cannot_be_read_stop_the_listing(
    origin: GitRepository, tmp_path: Path, entry: tuple[int, bytes]
) -> None:
    """Falling back to the parent's rules might show too much."""
    origin.commit_tree(origin.tree({b"x/.refdesk.toml": entry, b"x/a.md": (FILE, b"x")}))
    with pytest.raises(SourceUnavailableError):
        _listed(_connector(origin, tmp_path))


def test_patterns_and_branches(origin: GitRepository, tmp_path: Path) -> None:
    """Only what is included of the branch that is named; a missing branch or folder is an error."""
    origin.commit({"docs/a.md": b"x", "docs/deep/b.md": b"x", "docs/c.txt": b"x", "d.md": b"x"})
    assert set(_listed(_connector(origin, tmp_path, include=["docs/**/*.md"]))) == {
        "docs/a.md",
        "docs/deep/b.md",
    }
    made = _connector(origin, tmp_path, include=["*.md"], exclude=["d*"])
    assert _listed(made) == {}
    with pytest.raises(FetchFailedError):
        made.fetch("docs/c.txt")
    for options in ({"branch": "other"}, {"subfolder": "absent"}):
        with pytest.raises(SourceUnavailableError):
            _listed(_connector(origin, tmp_path, **options))


def test_hostile_trees_do_no_harm(origin: GitRepository, tmp_path: Path) -> None:
    """Links, submodules and impossible names are left out; odd names are listed and can be fetched."""
    tree = origin.tree(
        {
            b"link.md": (LINK, b"/etc/hostname"),
            b"sub": (SUBMODULE, b"1" * 40),
            b"../up.md": (FILE, b"x"),
            b".git/hooks/post-checkout": (FILE, b"x"),
            b"\xff\xfe.md": (FILE, b"latin"),
            b"new\nline.md": (FILE, b"line"),
            "größe 😀.md".encode(): (FILE, b"size"),
            b"C:\\con.md": (FILE, b"device"),
            b"-rf": (FILE, b"dash"),
        }
    )
    origin.commit_tree(tree)
    made = _connector(origin, tmp_path)
    listed = _listed(made)
    assert set(listed) == {"\\xff\\xfe.md", "new\nline.md", "größe 😀.md", "C:\\con.md", "-rf"}
    assert {made.fetch(name) for name in listed} == {b"dash", b"device", b"latin", b"line", b"size"}
    assert not (tmp_path / "up.md").exists()
    for name in ("link.md", "sub", "../up.md", ".git/hooks/post-checkout", "/etc/hostname", "", "."):
        with pytest.raises(FetchFailedError):
            made.fetch(name)


def test_over_smart_http_without_history(origin: GitRepository, tmp_path: Path) -> None:
    """Only the tip is fetched, and nothing when it did not move; a server inside needs allow_hosts."""
    for number in range(3):
        origin.commit({"a.md": b"text %d" % number})
    with served_over_http(origin) as url:
        with pytest.raises(SourceUnavailableError, match="allow_hosts"):
            _listed(_connector(url, tmp_path))
        made = _connector(url, tmp_path, allow_hosts=["127.0.0.1"])
        first = _listed(made)
        packs = sorted((tmp_path / "work").rglob("*.pack"))
        assert _listed(made) == first
        assert sorted((tmp_path / "work").rglob("*.pack")) == packs
        origin.commit({"a.md": b"text 9", "b.md": b"new"})
        assert set(_listed(made)) == {"a.md", "b.md"}
        assert made.fetch("a.md") == b"text 9"
    with pytest.raises(SourceUnavailableError):
        _listed(made)
    assert made.fetch("b.md") == b"new"  # the tip of the last listing is at hand


def test_a_lost_clone_is_made_anew(origin: GitRepository, tmp_path: Path) -> None:
    """The work folder can be emptied or damaged at any time."""
    import shutil

    origin.commit({"a.md": b"text"})
    made = _connector(origin, tmp_path)
    first = _listed(made)
    shutil.rmtree(tmp_path / "work" / "repository")
    assert made.fetch("a.md") == b"text"
    (tmp_path / "work" / "repository" / "HEAD").unlink()
    assert _listed(made) == first


def test_limits(origin: GitRepository, tmp_path: Path) -> None:
    """A document over the limit is listed and refused on fetch; an object over its own stops the listing."""
    origin.commit({"big.md": b"x" * 1001, "a.md": b"x"})
    made = _connector(origin, tmp_path)
    assert set(_listed(made)) == {"big.md", "a.md"}
    with pytest.raises(TooLargeError):
        made.fetch("big.md")
    origin.commit({"bomb.md": b"0" * (2**20 + 1)})
    with pytest.raises(SourceUnavailableError, match="object"):
        _listed(_connector(origin, tmp_path, max_object_mb=1))


def _pack(kind: int, size: int, content: bytes, before: bytes = b"") -> io.BytesIO:
    head, rest = (kind << 4) | (size & 15), size >> 4
    header = bytearray()
    while rest:
        header.append(head | 0x80)
        head, rest = rest & 0x7F, rest >> 7
    header.append(head)
    body = b"PACK" + struct.pack(">II", 2, 1) + bytes(header) + before + zlib.compress(content)
    return io.BytesIO(body + b"\0" * 20)


def test_packs_are_looked_over() -> None:
    """Objects that are large, lie about their size, or grow by a delta are refused; good ones pass."""
    assert check_pack(_pack(3, 5, b"hello"), max_object_bytes=100) == 1
    assert check_pack(_pack(3, 70_000, b"x" * 70_000), max_object_bytes=70_000) == 1
    bad = [
        _pack(3, 101, b"x" * 101),
        _pack(3, 5, b"x" * 10**6),
        _pack(7, 4, b"\x05\xff\xff\x7f", before=b"1" * 20),
        _pack(6, 4, b"\x05\xff\xff\x7f", before=b"\x81\x01"),
        io.BytesIO(b"PACK" + struct.pack(">II", 2, 1)),
        io.BytesIO(b"nothing of the kind"),
        io.BytesIO(b"PACK" + struct.pack(">II", 2, 1) + b"\xff" * 40),
        io.BytesIO(b"PACK" + struct.pack(">II", 2, 1) + b"\x35not zlib at all....."),
    ]
    for pack in bad:
        with pytest.raises(PackRefusedError):
            check_pack(pack, max_object_bytes=100)


@pytest.mark.parametrize(
    ("location", "options"),
    [
        ("https://user:word@git.example/x", {}),
        ("https://token@git.example/x", {}),
        ("http://git.example/x", {}),
        ("file:///tmp/x", {}),
        ("/tmp/x", {}),
        ("git://git.example/x", {"protocols": ["git"]}),
        ("ext::sh -c id", {}),
        ("ssh://-oProxyCommand=id/x", {}),
        ("ssh://-l@git.example/x", {}),
        ("https://git.example/x\n", {}),
        ("relative/x", {"protocols": ["file"]}),
        ("https://git.example/x", {"subfolder": "../x"}),
        ("https://git.example/x", {"url": "javascript:{path}"}),
        ("https://git.example/x", {"url": "https://x/{commit}"}),
        ("https://git.example/x", {"max_object_mb": 0}),
        ("https://git.example/x", {"depth": 1}),
    ],
)
def test_wrong_sources_are_refused(tmp_path: Path, location: str, options: dict[str, Any]) -> None:
    """Protocols that are not permitted, logins in addresses, and what ssh would take for an option."""
    with pytest.raises(InvalidSourceError):
        connector(make_source("git", location, **options), make_parts(tmp_path))
