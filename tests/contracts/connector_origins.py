"""Real origins for the connector contract: each holds a few documents and can be changed and taken away.

A new connector adds one class here and its name to `ORIGINS`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from ingest.ports import Connector
from ingest.sources import git, s3, web
from ingest.sources.folder import FolderConnector
from retrieval.access import UserId
from tests.fakes.connector_parts import JsonMemory, make_parts
from tests.fakes.git_repository import GitRepository
from tests.fakes.s3_server import BUCKET, CREDENTIALS, KEYS, fresh_bucket, s3_server
from tests.fakes.site_server import Page, SiteServer, serving, sitemap
from tests.make import make_source

MAX_FILE_BYTES = 1000
"""Limit that every connector of the contract is opened with."""


class Origin(Protocol):
    """A place that holds documents by short names such as `a.md`."""

    def put(self, name: str, content: bytes) -> None:
        """Create or replace a document."""
        ...

    def remove(self, name: str) -> None:
        """Delete a document."""
        ...

    def take_away(self) -> None:
        """Make the whole origin unreachable."""
        ...

    def id_of(self, name: str) -> str:
        """External id that the document is listed under."""
        ...

    def open(self) -> Connector:
        """A new connector on the same memory and work folder, with `MAX_FILE_BYTES`."""
        ...


class FolderOrigin:
    """Files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "root"
        self._root.mkdir()

    def put(self, name: str, content: bytes) -> None:
        """See `Origin`."""
        (self._root / name).write_bytes(content)

    def remove(self, name: str) -> None:
        """See `Origin`."""
        (self._root / name).unlink()

    def take_away(self) -> None:
        """See `Origin`."""
        shutil.rmtree(self._root)

    def id_of(self, name: str) -> str:
        """See `Origin`."""
        return name

    def open(self) -> Connector:
        """See `Origin`."""
        return FolderConnector(self._root, default_owner=UserId("olga"), max_file_bytes=MAX_FILE_BYTES)


class GitOrigin:
    """Files on a branch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._repository = GitRepository(folder / "origin.git")
        self._memory = JsonMemory()
        self._files: dict[str, bytes] = {}

    def put(self, name: str, content: bytes) -> None:
        """See `Origin`."""
        self._files[name] = content
        self._repository.commit(self._files)

    def remove(self, name: str) -> None:
        """See `Origin`."""
        del self._files[name]
        self._repository.commit(self._files)

    def take_away(self) -> None:
        """See `Origin`."""
        shutil.rmtree(self._repository.path)

    def id_of(self, name: str) -> str:
        """See `Origin`."""
        return name

    def open(self) -> Connector:
        """See `Origin`."""
        source = make_source("git", str(self._repository.path), protocols=["file"])
        parts = make_parts(self._folder / "work", max_file_bytes=MAX_FILE_BYTES, memory=self._memory)
        return git.connector(source, parts)


class S3Origin:
    """Objects in a bucket."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self._folder = folder
        self._endpoint = endpoint
        self._client = fresh_bucket(endpoint)

    def put(self, name: str, content: bytes) -> None:
        """See `Origin`."""
        self._client.put_object(Bucket=BUCKET, Key=f"docs/{name}", Body=content)

    def remove(self, name: str) -> None:
        """See `Origin`."""
        self._client.delete_object(Bucket=BUCKET, Key=f"docs/{name}")

    def take_away(self) -> None:
        """See `Origin`."""
        for found in self._client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
            self._client.delete_object(Bucket=BUCKET, Key=found["Key"])
        self._client.delete_bucket(Bucket=BUCKET)

    def id_of(self, name: str) -> str:
        """See `Origin`."""
        return f"docs/{name}"

    def open(self) -> Connector:
        """See `Origin`."""
        options = {"endpoint_url": self._endpoint, "region": "us-east-1", **CREDENTIALS}
        source = make_source("s3", f"s3://{BUCKET}/docs/", **options)
        return s3.connector(
            source, make_parts(self._folder / "work", max_file_bytes=MAX_FILE_BYTES, secrets=KEYS)
        )


class WebOrigin:
    """Pages of a site with a sitemap."""

    def __init__(self, folder: Path, site: SiteServer) -> None:
        self._folder = folder
        self._site = site
        self._memory = JsonMemory()
        self._n_changes = 0

    def put(self, name: str, content: bytes) -> None:
        """See `Origin`."""
        self._n_changes += 1
        self._site.pages[f"/{name}"] = Page(content, etag=f'"{self._n_changes}"')
        self._map()

    def remove(self, name: str) -> None:
        """See `Origin`."""
        del self._site.pages[f"/{name}"]
        self._map()

    def take_away(self) -> None:
        """See `Origin`."""
        self._site.pages["/sitemap.xml"] = Page(b"<html>closed</html>", status=503)

    def id_of(self, name: str) -> str:
        """See `Origin`."""
        return f"{self._site.url}/{name}"

    def open(self) -> Connector:
        """See `Origin`."""
        source = make_source("web", f"{self._site.url}/", allow_hosts=["127.0.0.1"], delay_s=0)
        parts = make_parts(self._folder / "work", max_file_bytes=MAX_FILE_BYTES, memory=self._memory)
        return web.connector(source, parts)

    def _map(self) -> None:
        names = [path for path in self._site.pages if path != "/sitemap.xml"]
        self._site.pages["/sitemap.xml"] = Page(sitemap(*(f"{self._site.url}{path}" for path in names)))


@contextmanager
def _folder(folder: Path) -> Iterator[Origin]:
    yield FolderOrigin(folder)


@contextmanager
def _git(folder: Path) -> Iterator[Origin]:
    yield GitOrigin(folder)


@contextmanager
def _s3(folder: Path) -> Iterator[Origin]:
    with s3_server() as endpoint:
        yield S3Origin(folder, endpoint)


@contextmanager
def _web(folder: Path) -> Iterator[Origin]:
    with serving("127.0.0.1") as site:
        yield WebOrigin(folder, site)


ORIGINS: dict[str, Callable[[Path], AbstractContextManager[Origin]]] = {
    "folder": _folder,
    "git": _git,
    "s3": _s3,
    "web": _web,
}
