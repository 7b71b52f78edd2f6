"""A bucket of an S3-compatible store as a source, or the part of it under a prefix.

The listing is the store's own, with an object's ETag as its fingerprint, so it reads no object. In a bucket
with versions the current one counts; an object under a delete marker is gone.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from ingest.errors import FetchFailedError, InvalidSourceError, SourceUnavailableError, TooLargeError
from ingest.ports import ConnectorParts, ListedDocument
from ingest.sources.options import SourceOptions
from ingest.sources.patterns import PathPatterns
from retrieval.corpus import Source

OPTIONS = (
    *("access_key", "addressing", "anonymous", "ca_file", "endpoint_url", "exclude", "include", "region"),
    *("secret_key", "session_token", "url"),
)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class S3Settings:
    """What to read, and where.

    Attributes:
        prefix: Only objects whose key starts with it.
        endpoint_url: Address of a store other than Amazon's, empty for Amazon's.
        credentials: Arguments of the session; empty for the ones that boto3 finds by itself.
        url: Template of a document's link with `{key}`, empty for no link.
        page_size: Objects that one request lists, at most 1000.
    """

    bucket: str
    prefix: str
    endpoint_url: str
    region: str
    addressing: str
    ca_file: str
    is_anonymous: bool
    patterns: PathPatterns
    url: str
    max_file_bytes: int
    credentials: dict[str, str] = field(default_factory=dict, repr=False)
    page_size: int = _PAGE


def connector(source: Source, parts: ConnectorParts) -> S3Connector:
    """The connector of an `s3` source; `InvalidSourceError` when an option is wrong or boto3 is missing."""
    options = SourceOptions(source, OPTIONS)
    address = urlsplit(source.location)
    if address.scheme != "s3" or not _BUCKET.fullmatch(address.netloc) or address.query or address.fragment:
        raise InvalidSourceError("the location has to be s3://BUCKET or s3://BUCKET/PREFIX")
    endpoint = options.text("endpoint_url")
    if endpoint and (urlsplit(endpoint).scheme not in ("http", "https") or "@" in endpoint):
        raise InvalidSourceError("the option endpoint_url has to be a web address without a login")
    url = options.text("url")
    if url and (urlsplit(url).scheme not in ("http", "https") or "{key}" not in url):
        raise InvalidSourceError("the option url has to be a web address with {key}")
    settings = S3Settings(
        bucket=address.netloc,
        prefix=address.path.removeprefix("/"),
        endpoint_url=endpoint,
        region=options.text("region"),
        addressing=options.choice("addressing", "path" if endpoint else "auto", ("auto", "path", "virtual")),
        ca_file=options.text("ca_file"),
        is_anonymous=options.flag("anonymous"),
        patterns=PathPatterns(options.texts("include"), options.texts("exclude")),
        url=url,
        max_file_bytes=parts.max_file_bytes,
        credentials=_credentials(options, parts),
    )
    return S3Connector(settings)


def _credentials(options: SourceOptions, parts: ConnectorParts) -> dict[str, str]:
    """Values of the secrets that the options name; both keys or none."""
    arguments = {"access_key": "aws_access_key_id", "secret_key": "aws_secret_access_key"}
    arguments["session_token"] = "aws_session_token"  # noqa: S105 - an argument's name
    named = {argument: options.text(name) for name, argument in arguments.items() if options.text(name)}
    if named and not {"aws_access_key_id", "aws_secret_access_key"} <= set(named):
        raise InvalidSourceError("the options access_key and secret_key belong together")
    return {argument: parts.secret(name) for argument, name in named.items()}


class S3Connector:
    """Implements `ingest.ports.Connector` for a bucket. External ids are keys."""

    def __init__(self, settings: S3Settings) -> None:
        """Open the client; nothing is sent yet.

        Raises:
            InvalidSourceError: boto3 is not installed, or cannot use the settings.
        """
        try:
            import boto3
            from botocore import UNSIGNED
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise InvalidSourceError("an s3 source needs the extra s3: pip install 'refdesk[s3]'") from error
        self._settings = settings
        self._failures: tuple[type[Exception], ...] = (BotoCoreError, ClientError, OSError, ValueError)
        config = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 4},
            s3={"addressing_style": settings.addressing},
            **({"signature_version": UNSIGNED} if settings.is_anonymous else {}),
        )
        try:
            self._client = boto3.session.Session(**settings.credentials).client(
                "s3",
                endpoint_url=settings.endpoint_url or None,
                region_name=settings.region or None,
                verify=settings.ca_file or None,
                config=config,
            )
        except self._failures as error:
            raise InvalidSourceError(f"the options do not make a client: {error}") from error

    def list_documents(self) -> Iterator[ListedDocument]:
        """See `Connector.list_documents`. Keys that end in "/" stand for folders and are left out."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._settings.bucket,
            Prefix=self._settings.prefix,
            PaginationConfig={"PageSize": self._settings.page_size},
        )
        try:
            for page in pages:
                for found in page.get("Contents", ()):
                    if self._holds(found["Key"]):
                        yield self._listed(found)
        except self._failures as error:
            raise SourceUnavailableError(
                f"the bucket {self._settings.bucket} cannot be listed: {error}"
            ) from error

    def fetch(self, external_id: str) -> bytes:
        """See `Connector.fetch`."""
        if not self._holds(external_id):
            raise FetchFailedError(f"{external_id!r} does not belong to the source")
        limit = self._settings.max_file_bytes
        try:
            reply = self._client.get_object(Bucket=self._settings.bucket, Key=external_id)
            with contextlib.closing(reply["Body"]) as body:
                content: bytes = body.read(limit + 1) if reply["ContentLength"] <= limit else b""
        except self._failures as error:  # among them ValueError: a key that no object can have
            raise FetchFailedError(f"{external_id!r} cannot be read: {error}") from error
        if max(len(content), reply["ContentLength"]) > limit:
            raise TooLargeError(f"{external_id} is larger than {limit // 2**20} MB")
        return content

    def _holds(self, key: str) -> bool:
        is_below = key.startswith(self._settings.prefix) and not key.endswith("/")
        return bool(key) and is_below and self._settings.patterns.want(key)

    def _listed(self, found: dict[str, Any]) -> ListedDocument:
        return ListedDocument(
            external_id=found["Key"],
            fingerprint=found["ETag"].strip('"'),
            title="",
            url=self._settings.url.replace("{key}", quote(found["Key"])),
            modified_at=found["LastModified"],
            size_bytes=found["Size"],
        )
