"""An index that is optimised in the background: nothing is lost, doubled or stale, and searches go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from retrieval.access import filter_for, hashed_readers
from retrieval.adapters import edge_optimizing
from retrieval.adapters.edge_shard import Quantization
from retrieval.adapters.qdrant_edge import QdrantEdgeIndex
from retrieval.corpus import ChunkId, DocumentId
from retrieval.errors import IndexUnavailableError
from retrieval.ports import IndexQuery, Point, SparseVector
from tests.make import make_acl, make_point, make_principal

DIMENSION = 16
N_POINTS = 300
ASKED = IndexQuery(
    access=filter_for(make_principal("ada", "hr"), outdated=()),
    dense=np.eye(DIMENSION, dtype=np.float32)[0],
    sparse=SparseVector((1,), (1.0,)),
    depth=2 * N_POINTS,
)


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' processes leave no processor free for one of lowest priority."""
    monkeypatch.setattr(edge_optimizing, "NICENESS", 0)


def _never() -> bool:
    return False


def _point(number: int, *, seed: int = 0) -> Point:
    vector = np.random.default_rng([seed, number]).standard_normal(DIMENSION)
    return make_point(number, dense=vector.tolist())


def _write_first(index: QdrantEdgeIndex) -> None:
    index.upsert([_point(number) for number in range(N_POINTS)])


def _write_later(index: QdrantEdgeIndex) -> None:
    """Every kind of write, on points old and new; the last one on each counts."""
    index.upsert([_point(number, seed=1) for number in range(280, 340)])
    index.delete([_point(number).chunk_id for number in range(10)])
    index.upsert([_point(5)])
    private = make_acl("olga", allow=("group:board",))
    for number in (20, 21, 339):
        index.set_access(DocumentId(f"doc-{number}"), hashed_readers(private), ())
    index.set_sparse({_point(30).chunk_id: SparseVector((1,), (9.0,))})
    index.delete([_point(338).chunk_id])


def _found(index: QdrantEdgeIndex) -> tuple[dict[ChunkId, float], dict[ChunkId, float]]:
    legs = index.search(ASKED)
    return (
        {each.chunk_id: round(each.score, 3) for each in legs.dense},
        {each.chunk_id: round(each.score, 3) for each in legs.sparse},
    )


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., QdrantEdgeIndex]]:
    """Opens indexes that are closed in the end."""
    all_opened: list[QdrantEdgeIndex] = []

    def opening(name: str = "index", **settings: Any) -> QdrantEdgeIndex:
        all_opened.append(QdrantEdgeIndex(tmp_path / name, dimension=DIMENSION, **settings))
        return all_opened[-1]

    yield opening
    for index in all_opened:
        index.close()


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_what_is_written_meanwhile_is_there(
    opened: Callable[..., QdrantEdgeIndex], quantization: Quantization
) -> None:
    """Writes that come while the copy is being optimised are in it when it takes over."""
    index = opened(optimise_above=100, quantization=quantization)
    plain = opened("plain", optimise_above=0)
    for each in (index, plain):
        _write_first(each)
    written: list[bool] = []

    def write_once() -> bool:
        if not written:
            _write_later(index)
            written.append(True)
        return False

    assert index.optimise(is_stopped=write_once)
    assert written
    _write_later(plain)
    assert set(index.chunk_ids()) == set(plain.chunk_ids())
    assert index.count() == plain.count()
    ids = sorted(plain.chunk_ids())
    mine, theirs = index.dense_of(ids), plain.dense_of(ids)
    assert all(np.array_equal(mine[each], theirs[each]) for each in ids)
    dense, sparse = _found(index)
    dense_plain, sparse_plain = _found(plain)
    assert dense.keys() == dense_plain.keys()
    assert sparse.keys() == sparse_plain.keys()
    if quantization == "none":
        assert dense == pytest.approx(dense_plain, abs=0.002)


def test_an_optimised_index_is_left_alone_until_much_is_written(
    opened: Callable[..., QdrantEdgeIndex],
) -> None:
    """A second call does nothing; what comes after counts from nothing, also when the index is opened again."""
    index = opened(optimise_above=100)
    _write_first(index)
    assert index.n_unoptimised() == N_POINTS
    assert index.optimise(is_stopped=_never)
    assert index.n_unoptimised() == 0
    assert not index.optimise(is_stopped=_never)
    index.upsert([_point(number) for number in range(500, 540)])
    assert index.n_unoptimised() == 40
    index.close()
    again = opened(optimise_above=100)
    assert again.n_unoptimised() == 40
    assert again.count() == N_POINTS + 40


@pytest.mark.parametrize("optimise_above", [0, N_POINTS])
def test_nothing_is_done_when_it_is_not_due(
    opened: Callable[..., QdrantEdgeIndex], optimise_above: int
) -> None:
    """Never with 0, and not for as many points as are allowed."""
    index = opened(optimise_above=optimise_above)
    _write_first(index)
    assert not index.optimise(is_stopped=_never)


def test_one_that_is_stopped_changes_nothing(opened: Callable[..., QdrantEdgeIndex], tmp_path: Path) -> None:
    """The half-made copy is gone, and the index goes on as before."""
    index = opened(optimise_above=100)
    _write_first(index)
    before = _found(index)
    assert not index.optimise(is_stopped=lambda: True)
    assert [each.name for each in (tmp_path / "index").iterdir()] == ["1"]
    assert _found(index) == before
    _write_later(index)
    assert index.optimise(is_stopped=_never)


def test_it_is_put_off_while_the_disk_is_too_full(
    opened: Callable[..., QdrantEdgeIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that would fill the disk is not begun."""
    index = opened(optimise_above=100)
    _write_first(index)
    full = SimpleNamespace(free=1000)
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda _: full)
        assert not index.optimise(is_stopped=_never)
    assert index.optimise(is_stopped=_never)


def test_searches_go_on(opened: Callable[..., QdrantEdgeIndex], tmp_path: Path) -> None:
    """No search fails or finds less while one generation takes the place of another."""
    index = opened(optimise_above=100)
    _write_first(index)
    expected = len(_found(index)[0])
    done = threading.Event()
    counts: list[int] = []

    def search() -> None:
        while not done.is_set():
            counts.append(len(index.search(ASKED).dense))
            time.sleep(0.002)

    searching = [threading.Thread(target=search) for _ in range(2)]
    for thread in searching:
        thread.start()
    assert index.optimise(is_stopped=_never)
    while len(counts) < 10:
        done.wait(0.01)
    done.set()
    for thread in searching:
        thread.join()
    assert set(counts) == {expected}
    assert [each.name for each in (tmp_path / "index").iterdir()] == ["2"]


def test_what_a_killed_desk_left_is_swept(opened: Callable[..., QdrantEdgeIndex], tmp_path: Path) -> None:
    """A copy that was not complete does not count and is deleted."""
    index = opened()
    _write_first(index)
    index.close()
    (tmp_path / "index" / "2" / "segments").mkdir(parents=True)
    again = opened()
    assert again.count() == N_POINTS
    assert [each.name for each in (tmp_path / "index").iterdir()] == ["1"]


def test_a_folder_from_before_generations_is_taken_over(
    opened: Callable[..., QdrantEdgeIndex], tmp_path: Path
) -> None:
    """Its shard lies in the index's own folder; a move that was cut off is finished."""
    index = opened()
    _write_first(index)
    index.close()
    (tmp_path / "index" / "1" / "complete").unlink()
    for part in ("segments", "wal"):
        (tmp_path / "index" / "1" / part).rename(tmp_path / "index" / part)
    again = opened()
    assert again.count() == N_POINTS
    assert [each.name for each in (tmp_path / "index").iterdir()] == ["1"]


@pytest.mark.parametrize("moved", range(3))
def test_a_kill_while_such_a_folder_is_taken_over_loses_nothing(
    opened: Callable[..., QdrantEdgeIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    """After any of its moves, the last one included: opening it again finds every point."""
    index = opened()
    _write_first(index)
    index.close()
    first, left = tmp_path / "index" / "1", iter(range(moved))
    (first / "complete").unlink()
    for part in list(first.iterdir()):
        part.rename(tmp_path / "index" / part.name)
    first.rmdir()
    rename = Path.rename

    def cut_off(self: Path, target: Path) -> Path:
        done = rename(self, target)
        if next(left, None) is None:
            raise OSError("killed")
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", cut_off)
        with pytest.raises(IndexUnavailableError, match="killed"):
            opened()
    assert opened().count() == N_POINTS


def test_a_damaged_shard_is_not_optimised(opened: Callable[..., QdrantEdgeIndex], tmp_path: Path) -> None:
    """The process that fails says so by its status, and the index goes on as it is."""
    index = opened(optimise_above=100)
    _write_first(index)
    index.flush()
    (tmp_path / "index" / "1" / "edge_config.json").write_text("{")
    assert not index.optimise(is_stopped=_never)
    assert index.count() == N_POINTS
    assert [each.name for each in (tmp_path / "index").iterdir()] == ["1"]


def test_an_index_can_be_closed_meanwhile(opened: Callable[..., QdrantEdgeIndex]) -> None:
    """Closing ends the optimisation, and what was there is there when it is opened again."""
    index = opened(optimise_above=100)
    _write_first(index)
    closing: list[bool] = []

    def close_once() -> bool:
        if not closing:
            closing.append(True)
            index.close()
        return False

    assert not index.optimise(is_stopped=close_once)
    assert opened().count() == N_POINTS


def test_the_fields_of_a_point_survive(opened: Callable[..., QdrantEdgeIndex]) -> None:
    """What filters ask for is the same in the copy."""
    index = opened(optimise_above=1)
    index.upsert([replace(_point(number), tags=("travel",), language="de") for number in range(40)])
    assert index.optimise(is_stopped=_never)
    assert set(index.search(ASKED).languages) == {"de"}
