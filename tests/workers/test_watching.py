"""A watched folder: what changed is named, and is searchable within seconds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval.access import Principal, UserId
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.settings import load_settings
from serving.desk import Desk
from serving.embedded import docs_source, open_embedded
from workers.watching import Burst, burst_of

ROOT = Path("/docs")
OLGA = Principal(UserId("olga"))


@pytest.mark.parametrize(
    ("changed", "burst"),
    [
        (["/docs/a.md", "/docs/p/b.md", "/docs/a.md"], Burst(("a.md", "p/b.md"))),
        (["/docs/.git/index", "/docs/p/.b.md.swp"], Burst()),
        (["/docs/a.md", "/docs/p/.refdesk.toml"], Burst(whole=True)),
        (["/docs"], Burst(whole=True)),
        ([f"/docs/{number}.md" for number in range(501)], Burst(whole=True)),
    ],
)
def test_what_a_burst_means(changed: list[str], burst: Burst) -> None:
    """Documents are named; rules, the folder itself and very many changes ask for the whole source."""
    assert burst_of(ROOT, changed) == burst


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder of twelve documents."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.md").write_text(f"# Note {number}\n\nThe number is {number}.\n")
    return folder


@pytest.fixture
def desk(docs: Path, tmp_path: Path) -> Iterator[Desk]:
    """A desk that watches the folder, with everything in it indexed."""
    settings = load_settings(data=tmp_path / "data", docs=docs, owner="olga")
    with open_embedded(settings, watch=True) as embedded:
        docs_source(settings, embedded.desk)
        _until(lambda: len(_live(embedded.desk)) == 12, 60)
        yield embedded.desk


def _live(desk: Desk) -> set[str]:
    found = desk.corpus.documents(OLGA, DocumentFilter(state="live"), after=None, limit=100)
    return {document.external_id for document in found}


def _until(condition: Callable[[], bool], seconds: float) -> float:
    """Seconds until the condition holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it does not come"
        time.sleep(0.05)
    return time.monotonic() - began


def test_changes_are_taken_in(desk: Desk, docs: Path) -> None:
    """Edit, new folder, move and deletion by syncs of their paths; rules by a whole one; no mass deletion."""
    (docs / "3.md").write_text("# Note 3\n\nThe gazebo is painted vermilion.\n")
    _until(lambda: _finds(desk, "vermilion gazebo", "3.md"), 30)
    shutil.copytree(docs, docs / "copies", ignore=shutil.ignore_patterns("1*.md"))
    _until(lambda: "copies/9.md" in _live(desk), 30)
    (docs / "copies").rename(docs / "moved")
    _until(lambda: "moved/9.md" in _live(desk) and "copies/9.md" not in _live(desk), 30)
    (docs / "3.md").unlink()
    _until(lambda: "3.md" not in _live(desk), 30)
    source = desk.corpus.every_source()[0]
    runs = desk.jobs.jobs_of(source_id=source.id, limit=50)
    assert all(
        "paths" in run.parameters for run in runs if run.created_at > (source.synced_at or run.created_at)
    )
    (docs / ".refdesk.toml").write_text('[acl]\nallow = ["group:everyone"]\n')
    nobody = Principal(UserId("nobody"), frozenset())
    _until(lambda: bool(desk.corpus.documents(nobody, DocumentFilter(), after=None, limit=1)), 30)
    before = _live(desk)
    shutil.rmtree(docs / "moved")  # over 30 % at once: a whole sync, which the guard refuses
    _until(lambda: desk.corpus.every_source()[0].error_code == "listing_shrank", 30)
    assert _live(desk) == before


def _finds(desk: Desk, words: str, external_id: str) -> bool:
    from retrieval.query import Query

    hits = desk.search.search(Query(words, limit=1), OLGA).hits
    return bool(hits) and hits[0].passage.external_id == external_id and "vermilion" in hits[0].passage.text
