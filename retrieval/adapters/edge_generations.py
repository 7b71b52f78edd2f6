"""Folders of an Edge index: each generation of its shard lies in a folder of its own, `1`, `2`, and so on.

A generation counts once its mark says that it is complete; the highest one that is complete is the index. So a
process that is killed while it makes the next one loses nothing: what is left of that is deleted on opening.
"""

from __future__ import annotations

import shutil
from pathlib import Path

_MARK = "complete"
_SIZES_NEEDED = 3


def current(folder: Path) -> Path | None:
    """The generation that counts, None before the first one; every other folder and file is deleted.

    A shard that lies in `folder` itself, as desks before generations had it, becomes generation 1.
    """
    if not folder.exists():
        return None
    _adopt(folder)
    complete = [each for each in _generations(folder) if (each / _MARK).exists()]
    newest = max(complete, key=_number, default=None)
    for each in _generations(folder):
        if each != newest:
            shutil.rmtree(each)
    return newest


def first(folder: Path) -> Path:
    """Where the first generation belongs."""
    return folder / "1"


def following(generation: Path) -> Path:
    """Where the generation after this one belongs."""
    return generation.with_name(str(_number(generation) + 1))


def copy(generation: Path, target: Path) -> None:
    """Copy a generation that nobody writes now; the copy does not count yet."""
    shutil.copytree(generation, target, ignore=shutil.ignore_patterns(_MARK))


def has_room_for_next(generation: Path) -> bool:
    """Whether the disk has room for a copy, and for new segments beside those of the copy."""
    size = sum(each.stat().st_size for each in generation.rglob("*") if each.is_file())
    return shutil.disk_usage(generation).free >= _SIZES_NEEDED * size


def complete(generation: Path, n_indexed: int) -> None:
    """Let a generation count from now on.

    Args:
        n_indexed: What the engine counts as indexed vectors in it: what it counts later beyond that was
            written since, and lies outside the optimised segments.
    """
    mark = generation / _MARK
    unfinished = mark.with_suffix(".new")
    unfinished.write_text(str(n_indexed), encoding="ascii")
    unfinished.replace(mark)


def n_indexed_at_first(generation: Path) -> int:
    """The number that `complete` was given."""
    return int((generation / _MARK).read_text(encoding="ascii"))


def _adopt(folder: Path) -> None:
    rest = [each for each in folder.iterdir() if not each.name.isdecimal()]
    if not rest:
        return
    adopted = first(folder)
    adopted.mkdir(exist_ok=True)
    complete(adopted, 0)  # before the moves: what a kill cuts off goes on, and is never taken for half a copy
    for each in rest:
        each.rename(adopted / each.name)


def _generations(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.name.isdecimal()]


def _number(generation: Path) -> int:
    return int(generation.name)
