"""Parses every file of a folder in the sandbox, and the files inside those, and prints a table by format.

    python -m benchmarks.parse_formats FOLDER --tokenizer TOKENIZER_JSON [--workers 2]

Counts are of files. "Blank" are parsed documents without a letter or digit: there must be none. Times
are wall milliseconds per file, from the call to the checked answer, with all workers busy. Memory is the
proportional set size (shared pages counted once) of the zygote and its children, ten times a second.
"""

from __future__ import annotations

import argparse
import collections
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ingest.document import FoundFile, Intake
from ingest.errors import DocumentError
from ingest.members import SEPARATOR, member_ids, room_for
from ingest.ports import Lineage
from ingest.sandbox import SandboxExtractor
from ingest.sandbox_budgets import SandboxSettings
from ingest.settings import ChunkingSettings

_MIB = 1024 * 1024
_SAMPLE_S = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one file ended: `code` is an error code, or `parsed`, `container`, `blank` or `truncated`.

    Attributes:
        id: Path, and after `!/` the place within the file that it was found in.
        depth: Number of files around it.
    """

    id: str
    depth: int
    code: str
    message: str
    wall_s: float


def main() -> int:
    """Run the command; exit code 1 when a file ended outside the closed list or was silently blank."""
    arguments = _arguments()
    paths = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
    watched = [arguments.folder, Path.cwd()]
    before = _listing(watched)
    with tempfile.TemporaryDirectory(prefix="parse-formats-") as scratch:
        settings = SandboxSettings(
            chunking=ChunkingSettings(arguments.tokenizer),
            scratch_dir=Path(scratch),
            max_children=arguments.workers,
        )
        extractor = SandboxExtractor(settings)
        memory = _MemorySampler(extractor)
        with memory, ThreadPoolExecutor(arguments.workers) as pool:
            families = pool.map(lambda path: _extract(extractor, path, Path(scratch)), paths)
            outcomes = [outcome for family in families for outcome in family]
        is_alive = extractor.zygote_pid is not None
        left_over = [str(path) for path in Path(scratch).rglob("*")]
        extractor.close()
    _print_table(outcomes)
    print(f"\nfiles found inside others: {sum(outcome.depth > 0 for outcome in outcomes)}")
    print(f"zygote alive at the end: {is_alive}; starts of it: {memory.n_zygotes}")
    print(f"peak memory of zygote and children: {memory.peak_bytes / _MIB:.0f} MiB")
    print(f"left in scratch: {left_over or 'nothing'}")
    print(f"files new in watched folders: {sorted(_listing(watched) - before) or 'none'}")
    if arguments.failures:
        _print_failures(outcomes)
    return 1 if any(outcome.code in ("outside_the_list", "blank") for outcome in outcomes) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True, help="the embedder's tokenizer.json")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--failures", action="store_true", help="list the files that failed, with the reason")
    return parser.parse_args()


def _extract(extractor: SandboxExtractor, path: Path, scratch: Path) -> list[Outcome]:
    """How a file ended, and the files inside it, as deep and as many as the desk would take."""
    ended: list[Outcome] = []
    waiting = [FoundFile(str(path), path.stat().st_size, path=path)]
    n_found = bytes_found = 0
    with tempfile.TemporaryDirectory(prefix="found-", dir=scratch) as folder:
        while waiting:
            file = waiting.pop(0)
            depth = file.name.count(SEPARATOR)
            if file.path is None:
                ended.append(Outcome(file.name, depth, file.error_code, file.error_message, 0.0))
                continue
            inside = Path(tempfile.mkdtemp(dir=folder))
            own = (1, file.size_bytes) if depth else (0, 0)
            lineage = Lineage(depth, n_found - own[0], bytes_found - own[1])
            outcome, found = _extract_one(extractor, file.name, file.path, room_for(lineage, inside))
            ended.append(outcome)
            ids = member_ids(file.name, [one.name for one in found])
            waiting += [replace(one, name=member_id) for member_id, one in zip(ids, found, strict=True)]
            n_found, bytes_found = n_found + len(found), bytes_found + sum(one.size_bytes for one in found)
    return ended


def _extract_one(
    extractor: SandboxExtractor, file_id: str, path: Path, intake: Intake
) -> tuple[Outcome, tuple[FoundFile, ...]]:
    name = PurePosixPath(file_id)
    code, message = "parsed", ""
    found: tuple[FoundFile, ...] = ()
    started = time.perf_counter()
    try:
        extraction = extractor.extract(path, name=name.name, title=name.stem, intake=intake)
    except DocumentError as error:
        code, message = error.code, error.message
    except Exception as error:  # noqa: BLE001  # the edge of this command: their count is the finding
        code, message = "outside_the_list", repr(error)
    else:
        found = extraction.found
        if not any(character.isalnum() for character in extraction.document.text):
            code = "container" if found else "blank"
        elif {"text_truncated", "pages_truncated"} & set(extraction.document.warnings):
            code = "truncated"
    wall_s = time.perf_counter() - started
    return Outcome(file_id, file_id.count(SEPARATOR), code, message, wall_s), found


def _print_table(outcomes: Iterable[Outcome]) -> None:
    by_format: dict[str, list[Outcome]] = collections.defaultdict(list)
    for outcome in outcomes:
        by_format[PurePosixPath(outcome.id).suffix.lower().lstrip(".") or "(none)"].append(outcome)
    print(
        "| format | files | parsed | of these truncated | containers | median ms | max ms | failed, by code |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, group in sorted(by_format.items(), key=lambda item: (-len(item[1]), item[0])):
        _print_row(name, group)
    _print_row("all", [outcome for group in by_format.values() for outcome in group])


def _print_row(name: str, group: list[Outcome]) -> None:
    codes = collections.Counter(outcome.code for outcome in group)
    n_truncated, n_containers = codes.pop("truncated", 0), codes.pop("container", 0)
    n_parsed = codes.pop("parsed", 0) + n_truncated
    times = [outcome.wall_s * 1000 for outcome in group]
    failed = ", ".join(f"{code} {count}" for code, count in codes.most_common()) or "-"
    print(f"| {name} | {len(group)} | {n_parsed} | {n_truncated} | {n_containers} | {statistics.median(times):.0f} "
          f"| {max(times):.0f} | {failed} |")  # fmt: skip


def _print_failures(outcomes: Iterable[Outcome]) -> None:
    print()
    for outcome in outcomes:
        if outcome.message:
            print(f"{outcome.code:18} {outcome.id}: {outcome.message}")


def _listing(folders: Iterable[Path]) -> frozenset[str]:
    return frozenset(
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if ".git" not in path.parts and "__pycache__" not in path.parts
    )


class _MemorySampler:
    """Watches the memory of the zygote and its children from a thread."""

    def __init__(self, extractor: SandboxExtractor) -> None:
        self.peak_bytes = 0
        self.n_zygotes = 0
        self._extractor = extractor
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        last = None
        while not self._stopped.wait(_SAMPLE_S):
            pid = self._extractor.zygote_pid
            if pid is None:
                continue
            self.n_zygotes += pid != last
            last = pid
            self.peak_bytes = max(self.peak_bytes, sum(map(_set_size, [pid, *_children(pid)])))


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _set_size(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        return 0
    except OSError:
        return 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main())
