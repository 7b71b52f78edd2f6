"""A parser process whose plain-text reader does the harm that the file's first word names.

Run by the sandbox in place of `ingest.sandbox_child`, with the same confinement.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ingest import parsing, sandbox_child
from ingest.confinement import leave_network
from ingest.parsers.part import Draft, Source, paragraph

MIB = 1024 * 1024


def read(source: Source) -> Draft:
    """Do what the first word says; where that is refused, tell so as the document's text."""
    deed, _, rest = source.content.decode().partition(" ")
    if deed not in _DEEDS:
        return Draft([paragraph(source.content.decode())])
    try:
        _DEEDS[deed](source, rest.strip())
    except (OSError, MemoryError) as error:
        if deed == "memory":
            raise
        return Draft([paragraph(f"refused: {type(error).__name__}")])
    return Draft([paragraph("done")])


def _hang(source: Source, rest: str) -> None:
    time.sleep(600)


def _loop(source: Source, rest: str) -> None:
    while True:
        pass


def _chatter(source: Source, rest: str) -> None:
    while True:
        source.beat()
        time.sleep(0.05)


def _deaf(source: Source, rest: str) -> None:
    for number in range(1, 64):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(number, signal.SIG_IGN)
    time.sleep(600)


def _memory(source: Source, rest: str) -> None:
    hoard = []
    while True:
        hoard.append(bytearray(16 * MIB))


def _mapped(source: Source, rest: str) -> None:
    while True:
        mmap.mmap(-1, 64 * MIB).write(b"x" * 64 * MIB)


def _crash(source: Source, rest: str) -> None:
    ctypes.string_at(1)


def _recurse(source: Source, rest: str) -> None:
    sys.setrecursionlimit(10**8)

    def deeper(depth: int) -> int:
        return deeper(depth + 1) + 1

    deeper(0)


def _exit(source: Source, rest: str) -> None:
    os._exit(0)


def _fork(source: Source, rest: str) -> None:
    while True:
        os.fork()


def _program(source: Source, rest: str) -> None:
    os.execv("/bin/sh", ["sh", "-c", f"touch {rest}"])


def _fill(source: Source, rest: str) -> None:
    for number in range(10_000):
        folder = Path(f"d{number % 7}")
        folder.mkdir(exist_ok=True)
        (folder / str(number)).write_bytes(bytes(8 * MIB))
    time.sleep(600)


def _litter(source: Source, rest: str) -> None:
    for number in range(200_000):
        Path(f"f{number}").touch()
    time.sleep(600)


def _write(source: Source, rest: str) -> None:
    Path(rest).write_text("overwritten")


def _chmod(source: Source, rest: str) -> None:
    Path(rest).chmod(0)


def _connect(source: Source, rest: str) -> None:
    socket.create_connection(("127.0.0.1", int(rest)), timeout=5).close()


def _signal(source: Source, rest: str) -> None:
    os.kill(int(rest), signal.SIGKILL)


def _limits(source: Source, rest: str) -> None:
    resource.prlimit(int(rest), resource.RLIMIT_NOFILE, (3, 3))


def _anonymous(source: Source, rest: str) -> None:
    os.memfd_create("hoard")


def _garbage(source: Source, rest: str) -> None:
    for descriptor in range(64):
        try:
            os.write(descriptor, b'{"text": "forged"}\x00\xff' * 100 + b"\n")
        except OSError:
            continue


def _flood(source: Source, rest: str) -> None:
    while True:
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, b"x" * MIB)
            except OSError:
                continue


def _forge(source: Source, rest: str) -> None:
    answer = {"error": "fetch_failed", "message": "try again for ever"}
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, json.dumps(answer).encode())
        except OSError:
            continue
    os._exit(0)


_DEEDS: dict[str, Callable[[Source, str], None]] = {
    name.lstrip("_"): deed
    for name, deed in list(globals().items())
    if name.startswith("_") and callable(deed) and getattr(deed, "__module__", "") == __name__
}


if __name__ == "__main__":
    is_offline = leave_network()
    sys.modules["ingest.parsers.text"] = sys.modules[__name__]
    parsing.PARSERS = {"text/plain": "text"}
    setattr(sandbox_child, "PARSERS", parsing.PARSERS)  # noqa: B010  # mypy: imported there, not exported
    setattr(sandbox_child, "samples", lambda: {"warm.txt": b"Warm start."})  # noqa: B010  # as above
    sandbox_child.main(socket.socket(fileno=int(sys.argv[1])), is_offline)
