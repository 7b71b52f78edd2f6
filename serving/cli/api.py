"""The one way in which commands reach a desk: its HTTP API, over a socket or in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import click
import httpx

from retrieval.errors import AlreadyRunningError
from retrieval.settings import Settings, load_settings
from serving.cli.errors import CommandError
from serving.cli.running import find_running

F = TypeVar("F", bound=Callable[..., Any])

_WAIT_FOR_FOLDER_S = 15.0
"""Another command may hold the folder for a moment, or a desk may just be starting."""

_FOLDER = click.Path(file_okay=False, path_type=Path)

_TIMEOUT = httpx.Timeout(300.0, connect=5.0)


@dataclass(frozen=True, slots=True)
class Connection:
    """Which desk to speak to, and as whom.

    Attributes:
        data: State folder, None for the one in the settings.
        url: Address of a desk elsewhere; empty for the desk of the state folder.
        key: API key, empty for none.
        as_user: User to act for, empty for oneself.
    """

    data: Path | None = None
    url: str = ""
    key: str = ""
    as_user: str = ""


class Api:
    """Calls of the API; what it refuses becomes a `CommandError` with the API's own code."""

    def __init__(self, client: httpx.Client, where: str) -> None:
        """Call through `client`; `where` names the desk for people."""
        self._client = client
        self.where = where

    def get(self, *path: str, **query: Any) -> Any:
        """The body of a GET below /api/v1."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return self._call("GET", path, params=given)

    def post(self, *path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The body of a POST below /api/v1."""
        return self._call("POST", path, json=dict(body or {}))

    def put(self, *path: str, body: Mapping[str, Any]) -> Any:
        """The body of a PUT below /api/v1."""
        return self._call("PUT", path, json=dict(body))

    def patch(self, *path: str, body: Mapping[str, Any]) -> Any:
        """The body of a PATCH below /api/v1."""
        return self._call("PATCH", path, json=dict(body))

    def delete(self, *path: str, **query: Any) -> Any:
        """The body of a DELETE below /api/v1."""
        return self._call("DELETE", path, params=query)

    def probe(self, path: str) -> tuple[int, Any]:
        """Status and body of a GET at the root, whatever the status is."""
        with _translated(self.where):
            reply = self._client.get(path)
            return reply.status_code, reply.json()

    def events(self, *path: str, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Server-sent events of a POST: names and decoded payloads, as they arrive."""
        with _translated(self.where), self._client.stream("POST", _address(path), json=dict(body)) as reply:
            if reply.is_error:
                reply.read()
                _refuse(reply)
            name = ""
            for line in reply.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))

    @contextmanager
    def lines(self, *path: str, **query: Any) -> Iterator[tuple[Mapping[str, str], Iterator[str]]]:
        """Headers of a GET below /api/v1 and the lines of its body as they arrive, without their ends."""
        given = {name: value for name, value in query.items() if value not in (None, "", ())}
        with (
            _translated(self.where),
            self._client.stream("GET", _address(path), params=given) as reply,
        ):
            if reply.is_error:
                reply.read()
                _refuse(reply)
            yield reply.headers, reply.iter_lines()

    def _call(self, method: str, path: tuple[str, ...], **options: Any) -> Any:
        with _translated(self.where):
            reply = self._client.request(method, _address(path), **options)
        _refuse(reply)
        return reply.json() if reply.content else None


def connected(command: F) -> F:
    """Give a command the options that say which desk it speaks to, as the argument `connection`."""

    @click.option("--data", type=_FOLDER, help="State folder of the desk.")
    @click.option("--url", default="", envvar="REFDESK_URL", help="Address of a desk elsewhere.")
    @click.option("--key", default="", envvar="REFDESK_API_KEY", help="API key, where the desk wants one.")
    @click.option("-u", "--as-user", default="", help="Act for this user of the directory.")
    @wraps(command)
    def with_connection(*args: Any, data: Path | None, url: str, key: str, as_user: str, **rest: Any) -> Any:
        return command(*args, connection=Connection(data, url, key, as_user), **rest)

    return with_connection  # type: ignore[return-value]  # click's options keep the callable's kind


json_option = click.option("--json", "as_json", is_flag=True, help="Print the API's JSON and nothing else.")


@contextmanager
def open_api(connection: Connection, *, create: bool = False) -> Iterator[Api]:
    """A way into the desk that serves the state folder, or into the folder itself when none does.

    Args:
        connection: Which desk, and as whom.
        create: Whether to make a desk where there is none yet.

    Raises:
        CommandError: There is no desk, or it cannot be reached.
        AlreadyRunningError: The folder is held by a process that does not answer.
    """
    with ExitStack() as stack:
        client, where = _open_client(connection, stack, create=create)
        if connection.key:
            client.headers["Authorization"] = f"Bearer {connection.key}"
        if connection.as_user:
            client.headers["X-Refdesk-User"] = connection.as_user
        yield Api(stack.enter_context(client), where)


def _open_client(connection: Connection, stack: ExitStack, *, create: bool) -> tuple[httpx.Client, str]:
    if connection.url:
        return httpx.Client(base_url=connection.url, timeout=_TIMEOUT), connection.url
    settings = load_settings(data=connection.data)
    give_up_at = time.monotonic() + _WAIT_FOR_FOLDER_S
    while True:
        running = find_running(settings.data)
        if running is not None:
            return httpx.Client(base_url=running.url, timeout=_TIMEOUT), running.url
        if not create and not settings.catalogue_url and not (settings.data / "catalogue.db").exists():
            raise CommandError(
                "no_desk",
                f"there is no desk in {settings.data}",
                "Start one with `refdesk up --docs FOLDER`, or name its folder with --data.",
            )
        try:
            return stack.enter_context(_in_process(settings)), f"folder {settings.data}"
        except AlreadyRunningError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.3)


@contextmanager
def _in_process(settings: Settings) -> Iterator[httpx.Client]:
    """The folder opened by this process. Whoever may open it owns all that is in it, so there is no login."""
    from serving.cli.in_process import BASE_URL, InProcessTransport
    from serving.embedded import open_embedded
    from serving.http.app import create_app
    from serving.limits import UNLIMITED

    local = settings.model_copy(update={"identity": "local", "docs": None})
    with open_embedded(local) as embedded:
        app = create_app(embedded.desk, limits=UNLIMITED)
        transport = InProcessTransport(app)
        yield httpx.Client(transport=transport, base_url=BASE_URL, timeout=_TIMEOUT)


def _address(path: tuple[str, ...]) -> str:
    return "/api/v1/" + "/".join(quote(part, safe="") for part in path)


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Turn a desk that does not answer into our own error."""
    try:
        yield
    except httpx.HTTPError as error:
        raise CommandError(
            "desk_unreachable",
            f"the desk at {where} does not answer: {error}",
            "Look whether it still runs, and at its log.",
        ) from error


def _refuse(reply: httpx.Response) -> None:
    """Raise what the API refused."""
    if not reply.is_error:
        return
    try:
        problem = reply.json()
        code, detail, hint = str(problem["code"]), str(problem["detail"]), str(problem.get("hint", ""))
    except (ValueError, KeyError, TypeError) as error:
        message = f"the desk answered with status {reply.status_code}"
        raise CommandError("unexpected_reply", message) from error
    raise CommandError(code, detail, hint)
