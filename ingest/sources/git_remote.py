"""Where a Git source's repository is, and how its tip comes from there."""

from __future__ import annotations

import re
import struct
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from dulwich.client import (
    FetchPackResult,
    GitClient,
    HTTPProxyUnauthorized,
    HTTPUnauthorized,
    LocalGitClient,
    get_transport_and_path_from_url,
)
from dulwich.errors import (
    ApplyDeltaError,
    ChecksumMismatch,
    FileFormatException,
    GitProtocolError,
    HangupException,
    NotGitRepository,
    ObjectMissing,
    WrongObjectException,
)
from dulwich.objects import ObjectID
from dulwich.repo import Repo
from urllib3.exceptions import HTTPError

from ingest.errors import InvalidSourceError, SourceUnavailableError
from ingest.ports import ConnectorParts
from ingest.sources.git_pack import PackRefusedError, check_pack
from ingest.sources.options import SourceOptions
from ingest.sources.web_guard import AllowedHosts, resolve

REMOTE_FAILURES = (
    *(
        GitProtocolError,
        HangupException,
        NotGitRepository,
        HTTPUnauthorized,
        HTTPProxyUnauthorized,
        HTTPError,
    ),
    *(ChecksumMismatch, ApplyDeltaError, FileFormatException, WrongObjectException, ObjectMissing),
    *(PackRefusedError, zlib.error, struct.error, KeyError, IndexError, OSError, ValueError, AssertionError),
)
"""What a remote or a damaged clone can make the library raise; hostile bytes get as far as its asserts."""

_PORTS = {"https": 443, "http": 80, "ssh": 22}
_SAFE_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SAFE_HOST = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9.:\]-]*")
_SSH = "ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=20 -oServerAliveCountMax=3"


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository elsewhere.

    Attributes:
        url: `https://…`, `http://…`, `ssh://…`, or an absolute path for a repository on this machine.
        max_pack_bytes: Most bytes that one fetch may send.
        max_object_bytes: Most bytes of one object; it passes through memory.
    """

    url: str
    protocol: str
    allowed: AllowedHosts
    max_pack_bytes: int
    max_object_bytes: int
    username: str = ""
    password: str = field(default="", repr=False)
    key_file: str = ""


def open_remote(location: str, options: SourceOptions, parts: ConnectorParts) -> Remote:
    """Read the location and the options that say how to reach it.

    Raises:
        InvalidSourceError: The protocol is not one of `protocols`, or the location holds a password.
    """
    protocols = options.texts("protocols") or ("https", "ssh")
    address = urlsplit(location if "://" in location else f"file://{location}")
    if address.scheme not in protocols or address.scheme not in (*_PORTS, "file"):
        raise InvalidSourceError(f"the option protocols does not allow {address.scheme} (it has {protocols})")
    if address.scheme == "file":
        if address.netloc or not address.path.startswith("/"):
            raise InvalidSourceError("a repository on this machine is named by its absolute path")
        url = address.path
    else:
        _check_address(location, address.scheme)
        url = location
    try:
        allowed = AllowedHosts.read(options.texts("allow_hosts"))
    except ValueError as error:
        raise InvalidSourceError(f"allow_hosts cannot be understood: {error}") from error
    secret = options.text("password")
    return Remote(
        url=url,
        protocol=address.scheme,
        allowed=allowed,
        max_pack_bytes=int(options.number("max_repository_mb", 2048, low=1, high=2**20)) * 2**20,
        max_object_bytes=int(options.number("max_object_mb", 256, low=1, high=2**14)) * 2**20,
        username=options.text("username"),
        password=parts.secret(secret) if secret else "",
        key_file=options.text("key_file"),
    )


def _check_address(location: str, scheme: str) -> None:
    address = urlsplit(location)
    try:
        host, user, word, _ = address.hostname or "", address.username, address.password, address.port
    except ValueError as error:
        raise InvalidSourceError(f"the address cannot be understood: {error}") from error
    if word is not None or (user is not None and scheme != "ssh"):
        raise InvalidSourceError("the address holds a login; name it in the options username and password")
    odd_user = user is not None and not _SAFE_USER.fullmatch(user)
    # ssh takes both from its command line, where a leading dash would make an option of them
    if odd_user or not _SAFE_HOST.fullmatch(host) or any(c in location for c in "\\\r\n\t\x00 "):
        raise InvalidSourceError("the address has an odd user or host")


def fetch_tip(remote: Remote, repository: Repo, branch: str) -> ObjectID:
    """Bring the tip of a branch into the repository; nothing is sent when it is there already.

    Args:
        branch: Empty for the remote's default branch.

    Returns:
        The tip's id.

    Raises:
        SourceUnavailableError: No such branch, an address that is not permitted, or a fetch over its limits.
    """
    _check_host(remote)
    client, path = _client(remote)
    wanted: list[ObjectID] = []

    def wants(refs: Any, depth: int | None = None) -> list[ObjectID]:  # noqa: ARG001 - the library passes it
        tip = refs.get(b"refs/heads/" + branch.encode() if branch else b"HEAD")
        if tip is None:
            raise SourceUnavailableError(f"the repository has no branch {branch or 'by default'}")
        wanted.append(tip)
        return [] if tip in repository.object_store else [tip]

    with tempfile.TemporaryFile(dir=Path(repository.path)) as received:
        sink = _CappedFile(received, remote.max_pack_bytes)
        result = client.fetch_pack(
            path,
            wants,
            repository.get_graph_walker(),
            sink.write,
            depth=None if isinstance(client, LocalGitClient) else 1,
        )
        if sink.n_bytes:
            _add(repository, received, result, remote)
    if not wanted:
        raise SourceUnavailableError("the repository is empty")
    return wanted[0]


def _add(repository: Repo, received: IO[bytes], result: FetchPackResult, remote: Remote) -> None:
    received.seek(0)
    if not check_pack(received, max_object_bytes=remote.max_object_bytes):
        return
    received.seek(0)
    repository.object_store.add_thin_pack(received.read, None)
    repository.update_shallow(result.new_shallow, result.new_unshallow)


class _CappedFile:
    """Counts what is written."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self.n_bytes = 0

    def write(self, chunk: bytes) -> int:
        """Write a chunk.

        Raises:
            PackRefusedError: The sum is over the limit.
        """
        self.n_bytes += len(chunk)
        if self.n_bytes > self._max_bytes:
            raise PackRefusedError(f"the fetch is over {self._max_bytes // 2**20} MB (max_repository_mb)")
        return self._file.write(chunk)


def _check_host(remote: Remote) -> None:
    """The address is an administrator's; this keeps one from reaching inside by mistake, without pinning."""
    if remote.protocol not in _PORTS:
        return
    address = urlsplit(remote.url)
    host = address.hostname or ""
    try:
        found = resolve(host, address.port or _PORTS[remote.protocol])
    except OSError as error:
        raise SourceUnavailableError(f"{host} is not known") from error
    if not found or not all(remote.allowed.permits(host.lower(), ip) for ip in found):
        raise SourceUnavailableError(f"{host} has an address that allow_hosts does not permit")


def _client(remote: Remote) -> tuple[GitClient, str]:
    if remote.protocol == "file":
        if not Path(remote.url).is_dir():
            raise SourceUnavailableError(f"the repository {remote.url} does not exist")
        return LocalGitClient(), remote.url
    return get_transport_and_path_from_url(
        remote.url,
        quiet=True,
        username=remote.username or None,
        password=remote.password or None,
        key_filename=remote.key_file or None,
        ssh_command=_SSH if remote.protocol == "ssh" else None,
    )
