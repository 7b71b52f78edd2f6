"""Real servers from packages, each on a loopback port of its own with a folder of its own, stopped by pid.

A machine that lacks a server's package gets None from `binary`; the tests that need it say so and are skipped.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_POSTGRES_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
_RABBIT_FOLDER = Path("/usr/lib/rabbitmq/bin")
_START_S = 90.0
_ROOT = Path(__file__).parents[2]


def binary(name: str) -> str | None:
    """Path of a server's program, None where its package is not installed."""
    places = [*map(str, _POSTGRES_FOLDERS), str(_RABBIT_FOLDER), os.environ.get("PATH", "")]
    return shutil.which(name, path=os.pathsep.join(places))


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class Server:
    """A server process with its port, its folder and its client's URL. Killed with all its children."""

    url: str
    port: int
    folder: Path
    command: list[str]
    environment: dict[str, str]
    is_ready: Callable[[], bool]
    user: str | None = None
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env=self.environment,
                user=self.user,
                start_new_session=True,
            )
        ends_at = time.monotonic() + _START_S
        while not self.is_ready():
            if time.monotonic() > ends_at or self.process.poll() is not None:
                tail = (self.folder / "log").read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"{self.command[0]} did not start: {tail}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL the server and everything it started."""
        if self.process is None:
            return
        kill_tree(self.process.pid)
        self.process.wait(timeout=30)
        self.process = None


def kill_tree(pid: int) -> None:
    """SIGKILL a process with all its descendants, whatever groups they are in."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue


def answers(port: int, greeting: bytes = b"", reply: bytes = b"") -> bool:
    """Whether something takes connections on a port and, to a greeting, replies as expected."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            if not greeting:
                return True
            connection.sendall(greeting)
            return connection.recv(len(reply)) == reply
    except OSError:
        return False


@contextmanager
def postgres(folder: Path) -> Iterator[Server]:
    """A PostgreSQL server with an empty database `refdesk`; it refuses to run as root, so root lends a user."""
    folder.mkdir(parents=True)
    port, data, user = free_port(), folder / "data", _unprivileged()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}
    if user is not None:
        shutil.chown(folder, user)
        _open_way(folder)
    initdb, program, client = _needed("initdb"), _needed("postgres"), _needed("psql")
    subprocess.run(
        [initdb, "-D", str(data), "-U", "refdesk", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"],
        check=True,
        capture_output=True,
        env=environment,
        user=user,
        cwd=folder,
    )
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "80",
        "shared_buffers": "64MB",
        "fsync": "off",  # servers are killed here, machines are not: what reached the kernel is kept
        "full_page_writes": "off",
    }
    command = [program, "-D", str(data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    address = ["-h", "127.0.0.1", "-p", str(port), "-U", "refdesk"]

    def is_ready() -> bool:
        query = [client, *address, "-d", "postgres", "-c", "select 1"]
        return answers(port) and not subprocess.run(query, check=False, capture_output=True).returncode

    server = Server(
        url=f"postgresql+psycopg://refdesk@127.0.0.1:{port}/refdesk",
        port=port,
        folder=folder,
        command=command,
        environment=environment,
        is_ready=is_ready,
        user=user,
    )
    with _running(server, gently=signal.SIGINT):
        create = [client, *address, "-d", "postgres", "-c", "create database refdesk"]
        subprocess.run(create, check=True, capture_output=True)
        yield server


@contextmanager
def redis(folder: Path) -> Iterator[Server]:
    """A Redis-compatible server without persistence: killed or wiped, it has forgotten everything."""
    folder.mkdir(parents=True)
    port = free_port()
    program = binary("valkey-server") or _needed("redis-server")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = Server(
        url=f"redis://127.0.0.1:{port}/0",
        port=port,
        folder=folder,
        command=[*command, "--dir", str(folder)],
        environment={"PATH": os.environ["PATH"]},
        is_ready=lambda: answers(port, b"PING\r\n", b"+PONG"),
    )
    with _running(server, gently=signal.SIGTERM):
        yield server


@contextmanager
def rabbitmq(folder: Path) -> Iterator[Server]:
    """A RabbitMQ server of one node, with a port mapper of its own."""
    folder.mkdir(parents=True)
    port, distribution, mapper = free_port(), free_port(), free_port()
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\nheartbeat = 10\n")
    (folder / "plugins").write_text("[].\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"desk{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "logs"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
    }
    mapping = Server(
        url="",
        port=mapper,
        folder=folder,
        command=[_needed("epmd"), "-port", str(mapper), "-address", "127.0.0.1"],
        environment=environment,
        is_ready=lambda: answers(mapper),
    )
    server = Server(
        url=f"amqp://guest:guest@127.0.0.1:{port}//",
        port=port,
        folder=folder,
        command=[_needed("rabbitmq-server")],
        environment=environment,
        is_ready=lambda: answers(port, b"AMQP\x00\x00\x09\x01", b"\x01"),
    )
    with _running(mapping, gently=signal.SIGTERM), _running(server, gently=signal.SIGTERM):
        yield server


@contextmanager
def qdrant(folder: Path) -> Iterator[Server]:
    """A process that speaks Qdrant's REST interface on the real engine (`tests.fakes.qdrant_server`)."""
    folder.mkdir(parents=True)
    port = free_port()
    server = Server(
        url=f"http://127.0.0.1:{port}",
        port=port,
        folder=folder,
        command=[sys.executable, "-m", "tests.fakes.qdrant_server", str(port), str(folder / "storage")],
        environment={"PATH": os.environ["PATH"], "PYTHONPATH": str(_ROOT)},
        is_ready=lambda: answers(port),
    )
    with _running(server, gently=signal.SIGTERM):
        yield server


@contextmanager
def _running(server: Server, *, gently: signal.Signals) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        if server.process is not None:
            server.process.send_signal(gently)
            with suppress(subprocess.TimeoutExpired):
                server.process.wait(timeout=10)
        server.kill()


def _needed(name: str) -> str:
    path = binary(name)
    if path is None:
        raise RuntimeError(f"{name} is not installed")
    return path


def _unprivileged() -> str | None:
    """The account that a server which refuses root runs under; None when this process is not root."""
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _open_way(folder: Path) -> None:
    """Let another account pass through the folders above; pytest makes them private."""
    for parent in folder.parents:
        mode = parent.stat().st_mode & 0o777
        if parent.stat().st_uid == os.geteuid() and not mode & 0o001:
            parent.chmod(mode | 0o011)
