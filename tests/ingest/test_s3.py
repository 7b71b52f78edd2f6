"""A bucket is listed page by page with ETags, on moto's real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import FetchFailedError, InvalidSourceError, SourceUnavailableError, TooLargeError
from ingest.ports import ListedDocument
from ingest.sources.s3 import S3Connector, connector
from tests.fakes.connector_parts import make_parts
from tests.fakes.s3_server import BUCKET, CREDENTIALS, KEYS, fresh_bucket, s3_server
from tests.make import make_source

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A running server."""
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str) -> Any:
    """A client whose bucket is empty."""
    return fresh_bucket(endpoint)


def _connector(
    endpoint: str, tmp_path: Path, location: str = f"s3://{BUCKET}", **options: Any
) -> S3Connector:
    options = {"endpoint_url": endpoint, "region": "us-east-1", **CREDENTIALS, **options}
    return connector(
        make_source("s3", location, **options), make_parts(tmp_path, secrets=KEYS, max_file_bytes=100)
    )


def _listed(connector: S3Connector) -> dict[str, ListedDocument]:
    return {item.external_id: item for item in connector.list_documents()}


def test_more_than_one_page_is_listed(bucket: Any, endpoint: str, tmp_path: Path) -> None:
    """A long listing comes in pages; nothing is lost and nothing is doubled."""
    for number in range(7):
        bucket.put_object(Bucket=BUCKET, Key=f"p/{number}.md", Body=b"x")
    bucket.put_object(Bucket=BUCKET, Key="p/", Body=b"")
    made = _connector(endpoint, tmp_path, f"s3://{BUCKET}/p/")
    paged = S3Connector(replace(made._settings, page_size=2))
    assert [item.external_id for item in paged.list_documents()] == [f"p/{number}.md" for number in range(7)]


def test_the_current_version_counts(bucket: Any, endpoint: str, tmp_path: Path) -> None:
    """In a bucket with versions, older ones and deleted objects are not seen."""
    bucket.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        bucket.put_object(Bucket=BUCKET, Key="a.md", Body=body)
    bucket.put_object(Bucket=BUCKET, Key="b.md", Body=b"x")
    made = _connector(endpoint, tmp_path, url="https://files.example/{key}")
    assert set(_listed(made)) == {"a.md", "b.md"}
    assert made.fetch("a.md") == b"two"
    bucket.delete_object(Bucket=BUCKET, Key="b.md")
    listed = _listed(made)
    assert {name: (item.size_bytes, item.url) for name, item in listed.items()} == {
        "a.md": (3, "https://files.example/a.md")
    }
    with pytest.raises(FetchFailedError):
        made.fetch("b.md")


def test_odd_keys_and_patterns(bucket: Any, endpoint: str, tmp_path: Path) -> None:
    """A key is a name, not a path: dots lead nowhere, and every character comes back."""
    keys = ["docs/../a.md", "docs//b.md", "docs/größe 😀+&%41.md", "docs/ ?#.md", "other/c.md", "docs/d.tmp"]
    for key in keys:
        bucket.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    made = _connector(endpoint, tmp_path, f"s3://{BUCKET}/docs/", exclude=["**/*.tmp"])
    listed = _listed(made)
    assert set(listed) == set(keys[:4])
    assert [made.fetch(key) for key in keys[:4]] == [key.encode() for key in keys[:4]]
    for key in ("other/c.md", "docs/d.tmp", "../docs/x", "", "docs/"):
        with pytest.raises(FetchFailedError):
            made.fetch(key)


def test_errors_are_told_apart(bucket: Any, endpoint: str, tmp_path: Path) -> None:
    """Too large, no such bucket, and no server."""
    bucket.put_object(Bucket=BUCKET, Key="big.md", Body=b"x" * 101)
    with pytest.raises(TooLargeError):
        _connector(endpoint, tmp_path).fetch("big.md")
    with pytest.raises(SourceUnavailableError):
        _listed(_connector(endpoint, tmp_path, "s3://no-such-bucket"))


@pytest.mark.parametrize(
    ("location", "options"),
    [
        ("handbook", {}),
        ("s3://", {}),
        ("s3://UPPER", {}),
        ("s3://a@b", {}),
        ("s3://handbook", {"endpoint_url": "file:///x"}),
        ("s3://handbook", {"endpoint_url": "https://user:word@s3.example"}),
        ("s3://handbook", {"secret_key": ""}),
        ("s3://handbook", {"addressing": "odd"}),
        ("s3://handbook", {"password": "x"}),
        ("s3://handbook", {"url": "javascript:{key}"}),
    ],
)
def test_wrong_sources_are_refused(tmp_path: Path, location: str, options: dict[str, Any]) -> None:
    """A wrong location or option is an error before anything is sent."""
    with pytest.raises(InvalidSourceError):
        _connector("http://127.0.0.1:1", tmp_path, location, **options)


def test_secrets_are_named_not_written(tmp_path: Path) -> None:
    """A secret that nobody set is an error; the settings do not show the values."""
    with pytest.raises(SourceUnavailableError):
        _connector("http://127.0.0.1:1", tmp_path, secret_key="NOT_SET")
    assert "secret-word" not in repr(_connector("http://127.0.0.1:1", tmp_path)._settings)


def test_boto3_is_loaded_late() -> None:
    """A desk without an s3 source does not pay for boto3."""
    code = "import sys, ingest.sources.s3; sys.exit('boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without boto3 the error says what to install."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(InvalidSourceError, match=r"refdesk\[s3\]"):
        _connector("http://127.0.0.1:1", tmp_path)
