"""A web source reaches public addresses and what an operator permits, and nothing else (a sentinel listens)."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from ingest.sources.web_client import ClientLimits, Credential, UnreadableError, WebClient
from ingest.sources.web_guard import (
    AllowedHosts,
    RefusedAddressError,
    Resolver,
    is_public,
    parse_target,
    resolve,
)
from tests.fakes.site_server import Page, SiteServer, serving

QUICK = ClientLimits(connect_s=0.5, read_s=0.5, request_s=1.0, n_attempts=1, backoff_s=0)

NAMES_THAT_LEAD_INSIDE = {
    "inside.example": ["127.0.0.1"],
    "six.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "mixed.example": ["93.184.215.14", "127.0.0.1"],
    "mixed-first.example": ["127.0.0.1", "93.184.215.14"],
    "meta.example": ["169.254.169.254"],
    "scoped.example": ["fe80::1%1"],
    "odd.example": ["not an address"],
    "zero.example": ["0.0.0.0"],
    "wide.example": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "fd00:ec2::254"],
    "allowed-name.example": ["169.254.169.254"],
    "none.example": [],
}


def _vectors() -> list[str]:
    """The file's vectors, with their control characters, and the names that lead inside."""
    marks = {"<TAB>": "\t", "<LF>": "\n", "<CR>": "\r", "<NUL>": "\x00"}
    text = Path(__file__).with_name("ssrf_vectors.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("# ")]
    for mark, character in marks.items():
        lines = [line.replace(mark, character) for line in lines]
    return lines + [f"http://{name}:{{p}}/" for name in NAMES_THAT_LEAD_INSIDE]


VECTORS = _vectors()


def _resolver(host: str, port: int) -> Sequence[str]:
    if host in NAMES_THAT_LEAD_INSIDE:
        return NAMES_THAT_LEAD_INSIDE[host]
    return resolve(host, port)


@pytest.fixture(scope="module")
def sentinel() -> Iterator[SiteServer]:
    """A server inside, which nobody may reach."""
    with serving("127.0.0.1") as site:
        site.pages["/"] = Page(b"secret")
        yield site


@pytest.fixture(scope="module")
def outside() -> Iterator[SiteServer]:
    """A server on an address that the operator permits."""
    with serving("127.0.0.2") as site:
        yield site


def _client(
    *allowed: str,
    resolver: Resolver = _resolver,
    limits: ClientLimits = QUICK,
    credential: Credential | None = None,
) -> WebClient:
    return WebClient(
        AllowedHosts.read(allowed), limits, user_agent="test", resolver=resolver, credential=credential
    )


def _get(client: WebClient, url: str) -> bytes:
    with client:
        return client.get(parse_target(url), max_bytes=100_000, may_visit=lambda _: True).body


def test_there_are_enough_vectors() -> None:
    """The list cannot shrink unnoticed."""
    assert len(set(VECTORS)) >= 200


@pytest.mark.parametrize("vector", VECTORS)
def test_no_vector_reaches_the_inside(sentinel: SiteServer, vector: str) -> None:
    """The address is refused before a connection, or leads nowhere; the sentinel hears nothing."""
    sentinel.forget()
    with pytest.raises((RefusedAddressError, UnreadableError)):
        _get(_client("allowed-name.example", "127.0.0.9"), vector.replace("{p}", str(sentinel.port)))
    assert sentinel.seen == []


@pytest.mark.parametrize("vector", VECTORS)
def test_no_redirect_reaches_the_inside(sentinel: SiteServer, outside: SiteServer, vector: str) -> None:
    """The same addresses as a redirect of a permitted site, at the end of a chain."""
    sentinel.forget()
    location = vector.replace("{p}", str(sentinel.port)).encode("latin-1", "ignore").decode("latin-1")
    location = location.translate(dict.fromkeys((0, 10, 13)))
    outside.pages = {
        "/": Page(status=302, headers={"Location": "/next"}),
        "/next": Page(status=307, headers={"Location": location}),
    }
    try:
        body = _get(_client("127.0.0.2", "allowed-name.example"), f"{outside.url}/")
    except (RefusedAddressError, UnreadableError):
        body = b""
    assert sentinel.seen == []
    assert body in (b"", b"nothing here")  # a relative reading of a strange address stays on the same site


def test_the_sentinel_can_be_reached_when_permitted(sentinel: SiteServer) -> None:
    """The guard, not the network, is what stops the vectors."""
    assert _get(_client("127.0.0.1"), f"{sentinel.url}/") == b"secret"
    assert _get(_client("inside.example"), f"http://inside.example:{sentinel.port}/") == b"secret"
    assert _get(_client("127.0.0.0/8"), f"http://inside.example:{sentinel.port}/") == b"secret"


def test_rebinding_gains_nothing(sentinel: SiteServer, outside: SiteServer) -> None:
    """A name is resolved once a connection, and the connection goes to the address that was checked."""
    outside.pages = {"/": Page(b"outside", headers={"Connection": "close"})}
    answers = [["127.0.0.2"], ["127.0.0.1"]]
    asked: list[str] = []

    def flipping(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    sentinel.forget()
    outside.forget()
    with _client("127.0.0.2", resolver=flipping) as client:
        target = parse_target(f"http://rebind.example:{outside.port}/")
        assert client.get(target, max_bytes=100, may_visit=lambda _: True).body == b"outside"
        assert asked == ["rebind.example"]
        assert outside.seen[0].headers["host"] == f"rebind.example:{outside.port}"
        sentinel_target = parse_target(f"http://rebind.example:{sentinel.port}/")
        with pytest.raises(RefusedAddressError):
            client.get(sentinel_target, max_bytes=100, may_visit=lambda _: True)
    assert sentinel.seen == []


def test_credentials_stay_with_their_origin(sentinel: SiteServer, outside: SiteServer) -> None:
    """A redirect to another origin does not take the Authorization header along."""
    sentinel.forget()
    outside.forget()
    outside.pages = {"/": Page(status=302, headers={"Location": f"{sentinel.url}/"})}
    credential = Credential(parse_target(outside.url).origin, "Authorization", "Bearer word")
    _get(_client("127.0.0.0/8", credential=credential), f"{outside.url}/")
    assert outside.seen[0].headers["authorization"] == "Bearer word"
    assert "authorization" not in sentinel.seen[0].headers
    assert "word" not in repr(credential)


def test_a_proxy_in_the_environment_is_not_used(
    sentinel: SiteServer, outside: SiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would resolve names by itself."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, sentinel.url)
    outside.pages = {"/": Page(b"direct")}
    sentinel.forget()
    assert _get(_client("127.0.0.2"), f"{outside.url}/") == b"direct"
    assert sentinel.seen == []


def test_drops_of_bytes_do_not_hold_the_client(outside: SiteServer) -> None:
    """A body that never ends, in pieces that keep the connection alive, ends with the request's time."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.1)

    outside.pages = {"/": drip}
    began = time.monotonic()
    with pytest.raises(UnreadableError):
        _get(_client("127.0.0.2"), f"{outside.url}/")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "text", ["93.184.215.14", "8.8.8.8", "2606:2800:21f::1", "::ffff:8.8.8.8", "172.32.0.1"]
)
def test_public_addresses_are_public(text: str) -> None:
    """The guard does not refuse the Internet."""
    assert is_public(ipaddress.ip_address(text))
