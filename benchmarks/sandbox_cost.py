"""Measures what isolation costs: the same files parsed and cut in this process, and in the sandbox.

    python -m benchmarks.sandbox_cost [FOLDER] [--rounds 3]

Both ways parse one file at a time with everything loaded beforehand, round by round in turn; the best round
of each way counts. Times are processor time, of this process and of the parser processes: it is what bounds
the throughput of a machine that indexes, and other programs disturb it little (parser processes run at a
lower priority, so their wall time says more about the neighbours). Printed: milliseconds a file, and the
share of throughput that isolation takes, for parsing alone and for a document's way in (parsing and
embedding). FOLDER is the sample handbook by default.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ingest.chunking import chunk_document
from ingest.document import Extraction
from ingest.errors import DocumentError
from ingest.parsing import parse
from ingest.sandbox import SandboxExtractor
from ingest.sandbox_budgets import SandboxSettings
from ingest.settings import ChunkingSettings
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.settings import load_settings
from retrieval.wiring import model_folder

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "sample" / "handbook")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory(prefix="sandbox-cost-") as folder:
        model = model_folder(load_settings(data=Path(folder) / "data"))
        chunking = ChunkingSettings(model / "tokenizer.json")
        sandbox = SandboxExtractor(SandboxSettings(chunking, Path(folder) / "scratch", max_children=1))
        try:
            _compare(paths, chunking, sandbox, OnnxEmbedder(model), arguments.rounds)
        finally:
            sandbox.close()


def _compare(
    paths: list[Path],
    chunking: ChunkingSettings,
    sandbox: SandboxExtractor,
    embedder: OnnxEmbedder,
    rounds: int,
) -> None:
    def here(path: Path) -> Extraction:
        document = parse(path.read_bytes(), name=path.name)
        chunks = chunk_document(document, title=document.title, settings=chunking)
        return Extraction(document, chunks)

    def isolated(path: Path) -> Extraction:
        return sandbox.extract(path, name=path.name, title="")

    def spent_s() -> float:
        return time.process_time() + _spent_by(sandbox.zygote_pid)

    usable = [path for path in paths if _took(here, path) and _took(isolated, path)]
    if not usable:
        raise SystemExit("no file of the folder can be parsed")
    here_s, isolated_s = [], []
    for _ in range(rounds):
        here_s.append(_seconds(here, usable, spent_s))
        isolated_s.append(_seconds(isolated, usable, spent_s))
    embed_s = _seconds(lambda path: embedder.embed_documents(_texts(here(path))), usable, spent_s)
    bare, boxed, whole = min(here_s), min(isolated_s), max(embed_s, min(here_s))
    count = len(usable)
    print(f"files that parse: {count} of {len(paths)}, rounds: {rounds}")
    print(f"parsing in this process: {1000 * bare / count:7.2f} ms a file")
    print(f"parsing in the sandbox:  {1000 * boxed / count:7.2f} ms a file")
    print(f"embedding:               {1000 * (whole - bare) / count:7.2f} ms a file")
    print(f"throughput lost, parsing alone:           {100 * (1 - bare / boxed):5.1f} %")
    print(f"throughput lost, parsing and embedding:   {100 * (1 - whole / (whole + boxed - bare)):5.1f} %")


def _spent_by(pid: int | None) -> float:
    """Processor time of a process and the children it has waited for, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _took(way: Callable[[Path], Extraction], path: Path) -> bool:
    try:
        way(path)
    except DocumentError:
        return False
    return True


def _seconds(way: Callable[[Path], object], paths: list[Path], clock: Callable[[], float]) -> float:
    started = clock()
    for path in paths:
        way(path)
    return clock() - started


def _texts(extraction: Extraction) -> list[str]:
    return [chunk.text for chunk in extraction.chunks]


if __name__ == "__main__":
    main()
