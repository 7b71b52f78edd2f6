"""Which addresses a web source may reach. The desk stands inside the network; a link must not use that.

The rule is applied where the connection is made: the name is resolved once, every address it has must be
permitted, and the socket is opened to one of exactly these addresses. A name that changes its address
between check and use (DNS rebinding) gains nothing, and no redirect goes round it. TLS and the Host header
keep the name.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]

_PORTS = {"http": 80, "https": 443}
_MAX_URL = 2048
_BARE = re.compile(r"[\x21-\x5b\x5d-\x7e]|[^\x00-\x9f\s]")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\.?")

_REFUSED_4 = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own; also a cloud's metadata service
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's host agent, on an address that is public by number
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_PUBLIC_6 = ipaddress.ip_network("2000::/3")
_REFUSED_6 = tuple(
    ipaddress.ip_network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")  # Teredo and 6to4 carry IPv4 inside
)
_NEVER_BY_NAME = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "224.0.0.0/3"),
        *("fe80::/10", "ff00::/8", "fd00:ec2::254/128", "::/128"),
    )
)
"""Metadata services and what is no host at all: an allowed name may not lead there, only a stated network."""


class RefusedAddressError(Exception):
    """The address is not one that a web source may reach."""


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL, in one spelling.

    Attributes:
        host: Lower case, in ASCII (IDNA), an IPv6 address without brackets.
        path: Path with its query, starting with "/"; no fragment.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to."""
        return (self.scheme, self.host, self.port)

    @property
    def url(self) -> str:
        """The URL in its one spelling."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def parse_target(url: str, *, base: str = "") -> Target:
    """Read a URL strictly: what two parsers could read in two ways is refused.

    Args:
        url: Absolute, or relative to `base`.
        base: Absolute URL of the page or redirect that `url` comes from.

    Raises:
        RefusedAddressError: Not http or https, user information, spaces, control characters or backslashes,
            or a host that is neither a name nor an address in its usual spelling.
    """
    if not url or len(url) > _MAX_URL or _BARE.sub("", url):
        raise RefusedAddressError("the address is empty, too long, or holds characters that no address has")
    try:
        parsed = httpx.URL(base).join(url) if base else httpx.URL(url)
        raw_host = parsed.raw_host.decode("ascii").lower()
        port = parsed.port
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise RefusedAddressError("the address cannot be understood") from error
    if parsed.scheme not in _PORTS:
        raise RefusedAddressError("only http and https addresses are read")
    if parsed.userinfo or "@" in parsed.netloc.decode("ascii", "replace"):
        raise RefusedAddressError("an address with user information is not read")
    port = _PORTS[parsed.scheme] if port is None else port
    if not 0 < port < 2**16:
        raise RefusedAddressError("the address has no valid port")
    path = parsed.raw_path.decode("ascii") or "/"
    return Target(parsed.scheme, _checked_host(raw_host), port, path)


def _checked_host(host: str) -> str:
    """A name, or an address in its usual spelling; `0x7f.1`, `2130706433`, `fe80::1%lo` are refused."""
    bare = host.strip("[]")
    if ":" in bare:
        try:
            return str(ipaddress.IPv6Address(bare)) if "%" not in bare else _refuse(host)
        except ValueError:
            return _refuse(host)
    last_label = bare.rstrip(".").rpartition(".")[2]
    if _NUMBER.fullmatch(last_label):
        try:
            return str(ipaddress.IPv4Address(bare))
        except ValueError:
            return _refuse(host)
    return bare.rstrip(".") if _NAME.fullmatch(bare) and len(bare) < 254 else _refuse(host)


def _refuse(host: str) -> str:
    raise RefusedAddressError(f"{host!r} is no host name and no address in its usual spelling")


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Internal sites that an operator permits on purpose.

    Attributes:
        names: Exact host names, lower case. They may have private addresses, but no metadata service's.
        networks: Permitted addresses, whatever they are.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def read(cls, entries: Iterable[str]) -> AllowedHosts:
        """Read the entries of the option: names, addresses, networks such as 10.1.0.0/16.

        Raises:
            ValueError: An entry is none of these.
        """
        names, networks = set(), []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                if "/" in entry or not _NAME.fullmatch(entry.lower()):
                    raise
                names.add(entry.lower().rstrip("."))
        return cls(frozenset(names), tuple(networks))

    def permits(self, host: str, address: str) -> bool:
        """Whether a connection to this address may be opened for this host."""
        try:
            ip = _plain(ipaddress.ip_address(address))
        except ValueError:
            return False
        if any(ip in network for network in self.networks):
            return True
        if host in self.names:
            return not any(ip in network for network in _NEVER_BY_NAME)
        return is_public(ip)


def is_public(ip: Address) -> bool:
    """Whether an address belongs to a host on the public Internet."""
    ip = _plain(ip)
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _REFUSED_4)
    return ip in _PUBLIC_6 and not any(ip in network for network in _REFUSED_6)


def _plain(ip: Address) -> Address:
    """An IPv4 address that is written as IPv6 (::ffff:127.0.0.1) as the IPv4 address that it is."""
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def resolve(host: str, port: int) -> list[str]:
    """Every address of a host, as the system's resolver says.

    Raises:
        OSError: The name is not known.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore.NetworkBackend):
    """Opens connections to permitted addresses only, and reads no longer than until a deadline."""

    def __init__(self, allowed: AllowedHosts, resolver: Resolver = resolve) -> None:
        """Permit public addresses and those of `allowed`."""
        self._allowed = allowed
        self._resolve = resolver
        self._sockets = httpcore.SyncBackend()
        self.deadline = 0.0
        """Monotonic time in seconds after which reading and connecting stop."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve, check, and connect to what was checked.

        Raises:
            RefusedAddressError: The host has an address that is not permitted.
            httpcore.ConnectError: No address answers, or there is none.
        """
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} is not known") from error
        for address in addresses:
            if not self._allowed.permits(host, address):
                raise RefusedAddressError(
                    f"{host} has the address {address}, which allow_hosts does not permit"
                )
        for number, address in enumerate(addresses, start=1):
            try:
                stream = self._sockets.connect_tcp(
                    address, port, remaining_s(self.deadline, timeout), local_address, socket_options
                )
                return _DeadlineStream(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Never: a socket file is no web site."""
        raise RefusedAddressError("socket files are not read")

    def sleep(self, seconds: float) -> None:
        """Wait; the pool asks for it between its own attempts."""
        self._sockets.sleep(seconds)


def remaining_s(deadline: float, timeout: float | None) -> float:
    """Seconds that an operation may still take.

    Raises:
        httpcore.ReadTimeout: None are left.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time for one request is over")
    return left if timeout is None else min(left, timeout)


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose every operation ends with its backend's deadline: drops of bytes cannot hold it."""

    def __init__(self, stream: httpcore.NetworkStream, backend: GuardedBackend) -> None:
        self._stream = stream
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, remaining_s(self._backend.deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, remaining_s(self._backend.deadline, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = remaining_s(self._backend.deadline, timeout)
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left), self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
