"""Budgets of the parser process: what it may use, what it is told, and what a death or overrun means."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.errors import DocumentError, ParserCrashedError, ParserMemoryError, ParserTimeoutError

if TYPE_CHECKING:  # importing the chunker costs seconds, and only the parser process needs it
    from ingest.settings import ChunkingSettings

_MIB = 1024 * 1024
_MAX_SCRATCH_FILES = 20_000


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Budgets of the parser process.

    Attributes:
        scratch_dir: Holds one short-lived folder per file being parsed; nothing else is written.
        max_children: Files parsed at the same time; further callers wait.
        memory_bytes: Address space of a child beyond what the zygote has mapped.
        silence_s: Longest time without a sign of progress.
        max_scratch_bytes: Bytes that a child may have in its scratch folder, looked at four times a second.
        max_answer_bytes: Longest answer that is read from a child.
        child_module: Run as the parser process; tests put hostile parsers in its place.
    """

    chunking: ChunkingSettings
    scratch_dir: Path
    max_children: int = 2
    max_file_bytes: int = 100 * _MIB
    memory_bytes: int = 1024 * _MIB
    cpu_s: int = 60
    wall_s: float = 90.0
    silence_s: float = 45.0
    max_written_file_bytes: int = 64 * _MIB
    max_scratch_bytes: int = 256 * _MIB
    max_answer_bytes: int = 128 * _MIB
    child_module: str = "ingest.sandbox_child"


def error_of_death(report: dict[str, Any], settings: SandboxSettings) -> DocumentError:
    """The error for a child that ended without an answer."""
    number = int(report.get("signal", 0))
    # Memory is counted as address space and reported as touched pages, of which there are always fewer.
    is_large = int(report.get("peak_bytes", 0)) > settings.memory_bytes // 8
    if number == signal.SIGXCPU:
        return ParserTimeoutError(f"the parser used more than {settings.cpu_s} s of processor time")
    if number == signal.SIGKILL or (number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS) and is_large):
        # Nobody here killed it, so the kernel did, for want of memory; or an allocation failed in C.
        return ParserMemoryError("the document needs more memory than a parser may use")
    cause = (
        signal.Signals(number).name if number in {*signal.Signals} else f"exit code {report.get('exit_code')}"
    )
    return ParserCrashedError(f"the parser process ended with {cause}")


def is_overfull(folder: Path, max_bytes: int) -> bool:
    """Whether the folder, with all below it, holds too many bytes or too many files."""
    n_bytes = n_files = 0
    unread = [str(folder)]
    while unread:
        with contextlib.suppress(OSError), os.scandir(unread.pop()) as entries:
            for entry in entries:
                n_files += 1
                n_bytes += entry.stat(follow_symlinks=False).st_size
                if entry.is_dir(follow_symlinks=False):
                    unread.append(entry.path)
                if n_bytes > max_bytes or n_files > _MAX_SCRATCH_FILES:
                    return True
    return False


def child_environment(settings: SandboxSettings) -> dict[str, str]:
    """All that the parser process gets to know of ours: where the code is. No secret, no setting."""
    scratch = str(settings.scratch_dir)
    return {
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HOME": scratch,
        "TMPDIR": scratch,
        "PYTHONHASHSEED": "0",
        # A zygote with threads can neither fork safely nor leave the network.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "DO_NOT_TRACK": "1",
        "UNSTRUCTURED_DISABLE_NOTICE": "1",
        "HF_HUB_OFFLINE": "1",
    }


def first_message(settings: SandboxSettings) -> dict[str, Any]:
    """The budgets and the tokenizer, as the parser process reads them first of all."""
    return {
        "tokenizer_path": str(settings.chunking.tokenizer_path.resolve()),
        "max_tokens": settings.chunking.max_tokens,
        "memory_bytes": settings.memory_bytes,
        "cpu_s": settings.cpu_s,
        "file_bytes": settings.max_written_file_bytes,
    }
