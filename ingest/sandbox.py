"""The desk's side of the sandbox: hands files to the parser process, watches the clock, believes little.

One zygote process (`ingest.sandbox_child`) loads the parsers once and forks a confined child per file, so a
file costs milliseconds to isolate and nothing of it is left for the next. This side holds the budgets that a
hung child cannot keep itself: wall time, silence, size of the answer, size of the scratch folder.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ingest.document import Extraction, Intake
from ingest.errors import (
    DocumentError,
    EmptyFileError,
    ExpansionError,
    FetchFailedError,
    ParserCrashedError,
    ParserTimeoutError,
    ParserUnavailableError,
    TooLargeError,
)
from ingest.members import taken_over
from ingest.sandbox_budgets import (
    SandboxSettings,
    child_environment,
    error_of_death,
    first_message,
    is_overfull,
)
from ingest.sandbox_wire import decode_answer

_START_S = 120.0
_REAP_S = 2.0
_TICK_S = 0.25
_HINT_CHARACTERS = 1_000
_ANSWER_TOO_LONG = "the parser's answer is longer than any document's can be"


class _ZygoteDiedError(Exception):
    """The zygote ended while a file was being parsed, or did not start."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A file as the zygote gets it."""

    number: int
    name: str
    title: str
    scratch: Path
    intake: Intake | None

    def message(self) -> dict[str, Any]:
        return {
            "job": self.number,
            "name": self.name,
            "title": self.title,
            "scratch": str(self.scratch),
            "opens": self.intake is not None,
            "max_files": 0 if self.intake is None else self.intake.max_files,
            "max_bytes": 0 if self.intake is None else self.intake.max_bytes,
        }


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a child ended: what it sent, the zygote's report, and the budget it was killed for, if any."""

    payload: bytes
    report: dict[str, Any]
    killed_for: DocumentError | None


class SandboxExtractor:
    """Parses each file in a confined process of its own. Implements `ingest.ports.Extractor`.

    Safe to call from several threads. The zygote is started by the first call and, if it dies, by the next.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._slots = threading.BoundedSemaphore(settings.max_children)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._zygote: _Zygote | None = None
        self._is_closed = False
        settings.scratch_dir.mkdir(parents=True, exist_ok=True, mode=0o700)

    def extract(self, path: Path, *, name: str, title: str, intake: Intake | None = None) -> Extraction:
        """Parse the file and cut it into chunks; see the port."""
        self._check_size(path)
        with self._slots, self._scratch() as scratch:
            for _ in range(2):
                hints = name[-_HINT_CHARACTERS:], title[:_HINT_CHARACTERS]
                job = _Job(next(self._numbers), *hints, scratch, intake)
                zygote = self._started_zygote()
                try:
                    outcome = zygote.parse(path, job)
                except _ZygoteDiedError:
                    # Some other file may have brought it down; one that does it twice is the cause.
                    continue
                return _taken_in(self._believe(outcome), scratch, intake)
        raise ParserCrashedError("the parser process died twice on this file")

    def close(self) -> None:
        """Stop every child process. The extractor cannot be used afterwards."""
        with self._lock:
            self._is_closed = True
            if self._zygote is not None:
                self._zygote.stop()
                self._zygote = None

    @property
    def scratch_dir(self) -> Path:
        """Holds one folder for each file that is being parsed, and nothing else."""
        return self._settings.scratch_dir

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the zygote, None while none runs; for monitoring."""
        zygote = self._zygote
        return zygote.pid if zygote is not None and zygote.is_alive() else None

    def protections(self) -> dict[str, bool]:
        """The layers of confinement by name, and whether this kernel and user get them.

        Raises:
            ParserUnavailableError: The parser process cannot be started.
        """
        return dict(self._started_zygote().protections)

    def _started_zygote(self) -> _Zygote:
        try:
            return self._running_zygote()
        except _ZygoteDiedError as error:
            raise ParserUnavailableError("the parser process cannot be started") from error

    def _check_size(self, path: Path) -> None:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise FetchFailedError("the file cannot be read") from error
        if size == 0:
            raise EmptyFileError("the file has no bytes")
        limit = self._settings.max_file_bytes
        if size > limit:
            raise TooLargeError(f"the file has {size} bytes; at most {limit} are read")

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        scratch = Path(tempfile.mkdtemp(prefix="parse-", dir=self._settings.scratch_dir)).resolve()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _running_zygote(self) -> _Zygote:
        with self._lock:
            if self._is_closed:
                raise ParserCrashedError("the sandbox is closed")
            if self._zygote is None or not self._zygote.is_alive():
                if self._zygote is not None:
                    self._zygote.stop()
                self._zygote = _Zygote(self._settings)
            return self._zygote

    def _believe(self, outcome: _Outcome) -> Extraction:
        if outcome.killed_for is not None:
            raise outcome.killed_for
        if len(outcome.payload) > self._settings.max_answer_bytes:
            raise ParserCrashedError(_ANSWER_TOO_LONG)
        report = outcome.report
        if report.get("exit_code") == 0 and outcome.payload:
            return decode_answer(outcome.payload)
        raise error_of_death(report, self._settings)


def _taken_in(extraction: Extraction, scratch: Path, intake: Intake | None) -> Extraction:
    """The extraction with the found files' bytes out of the parser's reach; more than asked for is a lie."""
    found = extraction.found
    most = (0, 0) if intake is None else (intake.max_files, intake.max_bytes)
    if len(found) > most[0] or sum(one.size_bytes for one in found) > most[1]:
        raise ParserCrashedError("the parser found more files inside than it may")
    if intake is None or not found:
        return extraction
    return replace(extraction, found=taken_over(found, scratch, intake.folder))


class _Zygote:
    """A running zygote process and the socket to it."""

    def __init__(self, settings: SandboxSettings) -> None:
        """Start it and wait until it is ready.

        Raises:
            _ZygoteDiedError: It ended or kept silent instead.
        """
        self._settings = settings
        self._send_lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, nothing of it from outside
                [sys.executable, "-P", "-s", "-m", settings.child_module, str(theirs.fileno())],
                env=child_environment(settings),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=settings.scratch_dir,
                start_new_session=True,
            )
        try:
            self._control.settimeout(_START_S)
            self._control.send(json.dumps(first_message(settings)).encode())
            ready = self._control.recv(65_536)
        except OSError as error:
            self.stop()
            raise _ZygoteDiedError("no answer") from error
        if not ready:
            self.stop()
            raise _ZygoteDiedError("ended while starting")
        self.protections: dict[str, bool] = json.loads(ready)["protections"]

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its process group."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Kill it. Its children die with it: the kernel ends a child whose parent is gone."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def parse(self, path: Path, job: _Job) -> _Outcome:
        """Have one file parsed and wait for the end, whatever end it is.

        Raises:
            _ZygoteDiedError: The zygote died meanwhile.
        """
        result_in, result_out = os.pipe()
        status_in, status_out = os.pipe()
        try:
            try:
                with path.open("rb") as file:
                    self._send(job.message(), [file.fileno(), result_out, status_out])
            finally:
                os.close(result_out)
                os.close(status_out)
            return _Watch(self, job, result_in, status_in, self._settings).wait()
        except FileNotFoundError as error:
            raise FetchFailedError("the file cannot be read") from error
        finally:
            os.close(result_in)
            os.close(status_in)

    def kill(self, job: int) -> None:
        """Have a child and all it started killed."""
        with contextlib.suppress(_ZygoteDiedError):
            self._send({"kill": job}, [])

    def _send(self, message: dict[str, Any], descriptors: list[int]) -> None:
        try:
            with self._send_lock:
                socket.send_fds(self._control, [json.dumps(message).encode("utf-8", "replace")], descriptors)
        except OSError as error:
            raise _ZygoteDiedError("the control socket is closed") from error


class _Watch:
    """Waits for one child's answer and report, and has it killed when it leaves a budget."""

    def __init__(
        self, zygote: _Zygote, job: _Job, result_in: int, status_in: int, settings: SandboxSettings
    ) -> None:
        self._zygote = zygote
        self._job = job
        self._result_in = result_in
        self._status_in = status_in
        self._settings = settings
        self._payload = bytearray()
        self._report = b""
        self._killed_for: DocumentError | None = None
        self._started_at = self._last_sign_at = time.monotonic()
        self._killed_at = 0.0

    def wait(self) -> _Outcome:
        with selectors.DefaultSelector() as selector:
            selector.register(self._result_in, selectors.EVENT_READ)
            selector.register(self._status_in, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(_TICK_S):
                    self._read(selector, key.fd)
                self._enforce()
        report = json.loads(self._report) if self._report else {"fork_failed": True}
        if "fork_failed" in report:
            raise _ZygoteDiedError("there was no child, or no report on it")
        return _Outcome(bytes(self._payload).strip(), report, self._killed_for)

    def _read(self, selector: selectors.BaseSelector, descriptor: int) -> None:
        received = os.read(descriptor, 1 << 16)
        if not received:
            selector.unregister(descriptor)
        elif descriptor == self._status_in:
            self._report += received
        else:
            self._last_sign_at = time.monotonic()
            if self._killed_for is None:
                self._payload += received

    def _enforce(self) -> None:
        if self._report:
            return
        if self._killed_for is None:
            self._killed_for = self._overrun()
            if self._killed_for is not None:
                self._killed_at = time.monotonic()
                self._zygote.kill(self._job.number)
        elif time.monotonic() - self._killed_at > _REAP_S:
            # A zygote that does not do as it is told is no longer ours.
            self._zygote.stop()

    def _overrun(self) -> DocumentError | None:
        """The error for the first budget that is used up, None while all hold."""
        now, settings = time.monotonic(), self._settings
        if now - self._started_at > settings.wall_s:
            return ParserTimeoutError(f"parsing took more than {settings.wall_s:g} s")
        if now - self._last_sign_at > settings.silence_s:
            return ParserTimeoutError(f"the parser made no progress for {settings.silence_s:g} s")
        if len(self._payload) > settings.max_answer_bytes:
            return ParserCrashedError(_ANSWER_TOO_LONG)
        if is_overfull(self._job.scratch, settings.max_scratch_bytes):
            return ExpansionError("the parser wrote more than its scratch folder may hold")
        return None
