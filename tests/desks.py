"""A desk over the sample handbook, indexed once per state of the code and copied for each test session."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from retrieval.settings import Settings, load_settings
from retrieval.wiring import open_corpus
from serving.desk import Desk
from serving.embedded import CorpusOpener, EmbeddedDesk, open_embedded, request_docs_sync

ROOT = Path(__file__).parent.parent
HANDBOOK = ROOT / "sample" / "handbook"
DIRECTORY = ROOT / "sample" / "directory.toml"
LOOPBACK = "http://127.0.0.1:8080"


class _Shared:
    """The desk that the test packages of one process share, open while any of them uses it."""

    def __init__(self) -> None:
        self._n_users = 0
        self._stack = ExitStack()
        self._desk: Desk | None = None

    @contextmanager
    def use(self) -> Iterator[Desk]:
        """The shared desk; the first user opens it, the last one closes it."""
        if self._desk is None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            self._desk = self._stack.enter_context(sample_desk(folder / "state")).desk
        self._n_users += 1
        try:
            yield self._desk
        finally:
            self._n_users -= 1
            if not self._n_users:
                self._desk = None
                self._stack.close()


_shared = _Shared()


def shared_desk() -> AbstractContextManager[Desk]:
    """A desk over the whole sample handbook, shared by all tests of this process: leave it as it is found."""
    return _shared.use()


@contextmanager
def sample_desk(
    folder: Path, *, opener: CorpusOpener = open_corpus, **overrides: Any
) -> Iterator[EmbeddedDesk]:
    """A running desk in `folder`, on which everything of the sample handbook is indexed."""
    shutil.copytree(_indexed_sample(), folder, dirs_exist_ok=True)
    with open_embedded(_settings(folder, **overrides), opener=opener) as embedded:
        yield embedded


def client_of(app: FastAPI, *, user: str | None = None, key: str | None = None) -> TestClient:
    """A client on this machine: with a key, acting for a user, or as the local owner."""
    headers = {}
    if user is not None:
        headers["X-Refdesk-User"] = user
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    client = ("127.0.0.1", 50000)
    return TestClient(app, LOOPBACK, headers=headers, client=client, raise_server_exceptions=False)


def wait_until_idle(desk: Desk, *, timeout_s: float = 240.0) -> None:
    """Return once no job is left."""
    ends_at = time.monotonic() + timeout_s
    while desk.jobs.unfinished():
        assert time.monotonic() < ends_at, "jobs are still not finished"
        time.sleep(0.02)


def _settings(data: Path, **overrides: Any) -> Settings:
    defaults = {
        "docs": HANDBOOK,
        "directory": DIRECTORY,
        "embedding_cache": _shared_folder() / "embeddings.db",
    }
    return load_settings(**{"data": data, **defaults, **overrides})


def _shared_folder() -> Path:
    # One per checkout: the indexed source remembers its folder, and checkouts must not clear each other's.
    checkout = hashlib.sha256(bytes(ROOT)).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"refdesk-sample-{os.getuid()}-{checkout}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _indexed_sample() -> Path:
    """The state folder to copy; made by the first process that asks, however many ask at once."""
    folder = _shared_folder()
    made = folder / _fingerprint()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            unfinished = folder / "unfinished"
            for old in folder.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
            _index(unfinished)
            unfinished.rename(made)
    return made


def _index(data: Path) -> None:
    settings = _settings(data)
    with open_embedded(settings) as embedded:
        request_docs_sync(settings, embedded.desk)
        wait_until_idle(embedded.desk, timeout_s=500)


def _fingerprint() -> str:
    """Changes with the sample and with the code that reads and indexes it.

    With the files' times too: a checkout made anew at the same place has new ones, and a source that remembers
    the old ones would find every document changed.
    """
    digest = hashlib.sha256()
    code = [path for package in ("retrieval", "ingest", "workers") for path in (ROOT / package).rglob("*.py")]
    sample = [path for path in HANDBOOK.rglob("*") if path.is_file()]
    for path in sorted(sample):
        status = path.stat()
        digest.update(f"{path.relative_to(ROOT)}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\0".encode())
    for path in sorted([*code, *sample, DIRECTORY]):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
