"""`desk.json` in a state folder: which process serves it, and where."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FILE = "desk.json"


@dataclass(frozen=True, slots=True)
class RunningDesk:
    """A desk that serves a state folder."""

    pid: int
    url: str


def find_running(data: Path) -> RunningDesk | None:
    """The desk that serves this folder, or None; what a killed desk left behind does not count."""
    try:
        stated = json.loads((data / _FILE).read_text(encoding="utf-8"))
        desk = RunningDesk(int(stated["pid"]), str(stated["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return desk if _is_alive(desk.pid) else None


@contextmanager
def announced(data: Path, url: str) -> Iterator[None]:
    """Say in the state folder that this process serves it, while the block runs."""
    path, aside = data / _FILE, data / f"{_FILE}.new"
    aside.write_text(json.dumps({"pid": os.getpid(), "url": url}), encoding="utf-8")
    aside.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, but somebody else's
        return True
    return pid > 0
