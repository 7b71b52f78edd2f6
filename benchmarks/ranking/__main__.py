"""Compares ways to rank the same chunks, exactly and outside the product.

    python -m benchmarks.ranking SET … [--half tune|test] [--against NAME] [--k1 1.2] [--b 0.75]
        [--work FOLDER] [--json FILE]

SET is a folder in BEIR form (docs/cli.md). It is cut and embedded once by the real pipeline and kept in the work
folder. A document ranks by its best chunk. Printed: nDCG@10 by way and set, and the mean difference to one of the
ways over all queries of all sets, with its 95 % interval (paired bootstrap). Choose with `--half tune`, report
`--half test`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.ranking.embedded_set import EmbeddedSet, embedded_set
from benchmarks.ranking.legs import Bm25Settings, Postings, exact_legs
from benchmarks.ranking.refined import PLAIN, REFINED, Asked
from benchmarks.ranking.variants import VARIANTS
from retrieval.adapters.bm25 import EdgeBm25
from retrieval.comparing import Half, half_of, paired_bootstrap
from retrieval.indexes import spoken
from retrieval.metrics import ndcg
from retrieval.query import Candidate, Legs

ROOT = Path(__file__).parent.parent.parent


def main() -> None:
    """Run the command."""
    arguments = _arguments()
    half = Half(arguments.half) if arguments.half else None
    values: dict[str, dict[str, float]] = {name: {} for name in (*VARIANTS, *REFINED)}
    names = []
    for folder in arguments.sets:
        embedded = embedded_set(folder, arguments.work)
        names.append(embedded.name)
        legs = legs_of(embedded, Bm25Settings(arguments.k1, arguments.b))
        for query, found in legs.items():
            if half in (None, half_of(query)):
                for way, candidates in ranked(embedded, query, found).items():
                    values[way][f"{embedded.name}/{query}"] = _ndcg(embedded, query, candidates)
        print(f"{embedded.name}: {len(embedded.documents)} chunks, {len(legs)} queries", flush=True)
    print()
    print(_table(values, names, arguments.against))
    if arguments.json:
        arguments.json.write_text(json.dumps(values), encoding="utf-8")


def legs_of(embedded: EmbeddedSet, settings: Bm25Settings = Bm25Settings()) -> Mapping[str, Legs]:
    """Both exact legs of every query, sparse terms as the product's."""
    sparse = EdgeBm25()
    languages = spoken(Counter(embedded.languages))
    postings = Postings(
        [
            sparse.count(text, language=language)
            for text, language in zip(embedded.chunks, embedded.languages, strict=True)
        ]
    )
    return exact_legs(embedded, postings, partial(sparse.encode_query, languages=languages), settings)


def ranked(embedded: EmbeddedSet, query: str, legs: Legs) -> dict[str, list[Candidate]]:
    """Candidates by way, best first."""
    fused = {way: fuse(legs) for way, fuse in VARIANTS.items()}
    asked = Asked(embedded.queries[query], embedded.chunks, embedded.dense)
    return fused | {way: refine(asked, fused[PLAIN]) for way, refine in REFINED.items()}


def _ndcg(embedded: EmbeddedSet, query: str, candidates: list[Candidate]) -> float:
    documents = dict.fromkeys(embedded.documents[int(candidate.chunk_id)] for candidate in candidates)
    return ndcg(list(documents), embedded.judgements[query], k=10)


def _table(values: Mapping[str, Mapping[str, float]], names: list[str], against: str) -> str:
    lines = [f"{'':28}" + "".join(f"{name[:11]:>12}" for name in names) + f"{'mean':>9}   to {against}"]
    for way, found in values.items():
        means = [
            _mean([value for query, value in found.items() if query.startswith(f"{name}/")]) for name in names
        ]
        difference = paired_bootstrap(found, values[against])
        row = "".join(f"{mean:12.4f}" for mean in means) + f"{_mean(means):9.4f}"
        lines.append(
            f"{way:28}{row}   {difference.mean:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
        )
    return "\n".join(lines)


def _mean(values: list[float]) -> float:
    return sum(values) / max(len(values), 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--half", choices=[half.value for half in Half])
    parser.add_argument("--against", default="dbsf, dense 0.5", choices=[*VARIANTS, *REFINED])
    parser.add_argument("--k1", type=float, default=Bm25Settings.k1, help="saturation of the sparse leg")
    parser.add_argument("--b", type=float, default=Bm25Settings.b, help="weight of a chunk's length in it")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench" / "ranking")
    parser.add_argument("--json", type=Path, help="write nDCG@10 by way and query")
    return parser.parse_args()


if __name__ == "__main__":
    main()
