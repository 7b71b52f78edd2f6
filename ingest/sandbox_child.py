"""The parser process: a zygote that loads the parsers once and forks one confined child for each file.

Started by `ingest.sandbox` as `python -m ingest.sandbox_child FD`, where FD is one end of a socket pair. The
zygote itself never reads a document. When the socket closes, because the desk ended in whatever way, it kills
its children and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.chunking import chunk_document
from ingest.confinement import (
    confine_files,
    forbid_file_writes,
    forbid_system_calls,
    leave_network,
    limit_resources,
    renounce_privileges,
)
from ingest.document import Extraction, FoundFile
from ingest.errors import DocumentError, EmptyFileError, ExpansionError
from ingest.members import printable_name, scratch_name
from ingest.parsers.part import PackedMember
from ingest.parsers.unstructured_elements import load_partitioner
from ingest.parsers.warm_up import samples
from ingest.parsing import PARSERS, parse
from ingest.sandbox_wire import encode_error, encode_extraction
from ingest.settings import ChunkingSettings
from retrieval.children import die_with_parent

MAX_MESSAGE_BYTES = 65_536
_BEAT_S = 0.5
_HUGE_PAGE, _MADV_COLLAPSE = 2 * 1024 * 1024, 25


@dataclass(frozen=True, slots=True)
class _Limits:
    """Settings of the zygote, as the parent sends them in its first message."""

    chunking: ChunkingSettings
    memory_bytes: int
    cpu_s: int
    file_bytes: int

    @classmethod
    def from_message(cls, message: bytes) -> _Limits:
        fields = json.loads(message)
        chunking = ChunkingSettings(Path(fields["tokenizer_path"]), fields["max_tokens"])
        return cls(chunking, fields["memory_bytes"], fields["cpu_s"], fields["file_bytes"])


@dataclass(frozen=True, slots=True)
class _Child:
    """A running child: the parent's job number, and where its end is to be reported."""

    job: int
    pid: int
    status_fd: int


def main(control: socket.socket, is_offline: bool) -> None:
    """Serve parse requests until the control socket closes."""
    limits = _Limits.from_message(control.recv(MAX_MESSAGE_BYTES))
    _preload(limits.chunking)
    # What is loaded by now stays shared with every child: the collector must not touch its pages.
    gc.collect()
    gc.freeze()
    _collapse_pages()
    protections = {"network_namespace": is_offline, **_tried_confinement(limits)}
    control.send(json.dumps({"protections": protections}).encode())
    _Zygote(control, limits).serve()


def _collapse_pages() -> None:
    """Have the kernel put this process's own memory into huge pages: a fork then copies a third of the tables.

    On a kernel that cannot (before 6.1), forks only cost more.
    """
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        is_own = fields[1].startswith("rw") and fields[4] == "0"
        start, end = (int(address, 16) for address in fields[0].split("-"))
        for page in range(-(-start // _HUGE_PAGE) * _HUGE_PAGE, end - _HUGE_PAGE + 1, _HUGE_PAGE):
            if is_own:
                libc.madvise(page, _HUGE_PAGE, _MADV_COLLAPSE)


def _tried_confinement(limits: _Limits) -> dict[str, bool]:
    """Which layers a child of this process gets here; tried in one that ends at once."""
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory() as scratch:
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writing, json.dumps(_confine(Path(scratch), limits)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(pid, 0)
    return dict(json.loads(answer)) if answer else {"landlock": False, "seccomp": False}


def _preload(chunking: ChunkingSettings) -> None:
    for module in sorted(set(PARSERS.values())):
        importlib.import_module(f"ingest.parsers.{module}")
    for format_name in ("docx", "pptx", "msg"):
        load_partitioner(format_name)
    for name, content in samples().items():
        chunk_document(parse(content, name=name), title="", settings=chunking)


class _Zygote:
    """Single-threaded: one selector over the control socket and a process descriptor for each child."""

    def __init__(self, control: socket.socket, limits: _Limits) -> None:
        self._control = control
        self._limits = limits
        self._children: dict[int, _Child] = {}
        # What every child starts with; only what it adds says something about its document. A fork takes the
        # anonymous pages over; those of files come one by one, when the child touches them.
        lines = Path("/proc/self/status").read_text().splitlines()
        self._own_bytes = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def serve(self) -> None:
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.fileobj is not self._control:
                        self._report_end(key.fd)
                    elif not self._serve_message():
                        return
        finally:
            for child in self._children.values():
                _kill_group(child.pid)

    def _serve_message(self) -> bool:
        """Do what the next message asks; False when the parent is gone."""
        message, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 3)
        if not message:
            return False
        request = json.loads(message)
        if "kill" in request:
            for child in self._children.values():
                if child.job == request["kill"]:
                    _kill_group(child.pid)
            return True
        self._start(request, *descriptors)
        return True

    def _start(self, request: dict[str, object], input_fd: int, result_fd: int, status_fd: int) -> None:
        zygote_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.write(status_fd, json.dumps({"fork_failed": True}).encode())
            os.close(status_fd)
        else:
            if pid == 0:
                _run_child(request, self._limits, input_fd, result_fd, zygote_pid)
            process_fd = os.pidfd_open(pid)
            self._children[process_fd] = _Child(int(str(request["job"])), pid, status_fd)
            self._selector.register(process_fd, selectors.EVENT_READ)
        os.close(input_fd)
        os.close(result_fd)

    def _report_end(self, process_fd: int) -> None:
        child = self._children.pop(process_fd)
        self._selector.unregister(process_fd)
        os.close(process_fd)
        _kill_group(child.pid)  # whatever it may have left running
        _, status, usage = os.wait4(child.pid, 0)
        report = {
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
            "peak_bytes": max(0, usage.ru_maxrss * 1024 - self._own_bytes),
        }
        with contextlib.suppress(BrokenPipeError):
            os.write(child.status_fd, json.dumps(report).encode())
        os.close(child.status_fd)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _run_child(
    request: dict[str, object], limits: _Limits, input_fd: int, result_fd: int, zygote_pid: int
) -> None:
    """The forked child: shut itself in, parse, cut, answer, end. Never returns."""
    try:
        os.setsid()
        die_with_parent(zygote_pid)
        _close_all_but(input_fd, result_fd)
        _confine(Path(str(request["scratch"])), limits)
        _write_all(result_fd, _answer(request, limits.chunking, input_fd, _Heartbeat(result_fd)))
        os._exit(0)
    finally:
        # Reached only by an exception: the zygote's own code must never run on in a child.
        os._exit(70)


def _close_all_but(*kept: int) -> None:
    """Other children's pipes and the control socket are none of this child's business."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, of files that come and go
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)


def _confine(scratch: Path, limits: _Limits) -> dict[str, bool]:
    """Shut this process in. Returns which of the layers that a kernel may lack are there."""
    os.chdir(scratch)
    tempfile.tempdir = str(scratch)
    sys.dont_write_bytecode = True
    renounce_privileges()
    limit_resources(memory_bytes=limits.memory_bytes, cpu_s=limits.cpu_s, file_bytes=limits.file_bytes)
    landlock = confine_files(readable=_readable_paths(limits.chunking), writable=scratch)
    if not landlock:
        forbid_file_writes()
    return {"landlock": landlock, "seccomp": forbid_system_calls()}


def _readable_paths(chunking: ChunkingSettings) -> list[Path]:
    """Where code, its data and the tokenizer are; no state folder, no home, no /etc, no /proc."""
    code = {sys.prefix, sys.base_prefix, *(entry for entry in sys.path if entry), "/usr", "/lib", "/lib64"}
    return [*(Path(entry) for entry in sorted(code)), chunking.tokenizer_path, Path("/etc/localtime")]


class _Heartbeat:
    """Tells the parent now and then that work goes on: an empty line, at most every half second."""

    def __init__(self, result_fd: int) -> None:
        self._result_fd = result_fd
        self._last = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last >= _BEAT_S:
            self._last = now
            os.write(self._result_fd, b"\n")


@contextlib.contextmanager
def _beating(beat: _Heartbeat) -> Iterator[None]:
    """Beat once a second while our own code runs: the handler gets its turn only if the interpreter does."""
    signal.signal(signal.SIGALRM, lambda *_: beat())
    signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(request: dict[str, object], chunking: ChunkingSettings, input_fd: int, beat: _Heartbeat) -> bytes:
    try:
        members = _Members(int(str(request["max_files"])), int(str(request["max_bytes"])))
        # Where no file may be written (`_confine`), none can be handed over either.
        keep = members.keep if request["opens"] and resource.getrlimit(resource.RLIMIT_FSIZE)[0] else None
        document = parse(_read_all(input_fd), name=str(request["name"]), beat=beat, keep=keep)
        title = document.title or str(request["title"])
        with _beating(beat):
            chunks = chunk_document(document, title=title, settings=chunking)
        return encode_extraction(Extraction(document, chunks, tuple(members.found)))
    except DocumentError as error:
        return encode_error(error.code, error.message)
    except MemoryError:
        return encode_error("parser_memory", "the document needs more memory than a parser may use")
    except Exception as error:  # noqa: BLE001  # the edge of this process
        # What is left is a defect of ours, told by its kind and never by its text.
        return encode_error("parser_crashed", f"the parser stopped: {type(error).__name__}")


class _Members:
    """Puts the files found inside into the scratch folder, which is the working folder, within the budget."""

    def __init__(self, max_files: int, max_bytes: int) -> None:
        self.found: list[FoundFile] = []
        self._max_files = max_files
        self._left_bytes = max_bytes

    def keep(self, member: PackedMember) -> None:
        number, name = len(self.found), printable_name(member.name)
        if number >= self._max_files:
            raise ExpansionError(
                "there are more files inside, or files deeper inside, than the budget allows"
            )
        try:
            content = member.read()
        except ExpansionError:
            raise
        except DocumentError as error:
            self.found.append(FoundFile(name, 0, error.code, error.message))
            return
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            raise ExpansionError("the files inside have more bytes than the budget allows")
        if not content:
            self.found.append(FoundFile(name, 0, EmptyFileError.code, "the file has no bytes"))
            return
        Path(scratch_name(number)).write_bytes(content)
        self.found.append(FoundFile(name, len(content)))


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _write_all(descriptor: int, payload: bytes) -> None:
    view = memoryview(payload)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    # Before anything else can start a thread: a process with two cannot change its user namespace.
    main(socket.socket(fileno=int(sys.argv[1])), leave_network())
