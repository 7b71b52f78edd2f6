"""The exact legs are the index's, and what is ranked outside the product is what the product ranks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.ranking import __main__ as ranking
from benchmarks.ranking.embedded_set import embedded_set
from benchmarks.ranking.variants import convex, reciprocal_rank
from retrieval.corpus import ChunkId
from retrieval.query import Candidate, Legs, SearchMode
from retrieval.settings import load_settings
from serving.cli.beir import read_set
from serving.cli.measuring import measure

_DOCUMENTS = {
    "leave": ("Annual leave", "Everybody has 27 days of paid leave. Carry-over ends in March."),
    "travel": ("Travel", "Mileage is paid at 42 cents per kilometre. Trains are booked in the portal."),
    "laptops": ("Laptops", "A laptop is replaced every four years. Lost devices are reported within a day."),
    "elternzeit": (
        "Elternzeit",
        "Anträge auf Elternzeit werden bei den Vorgesetzten und der Leitung gestellt.",
    ),
    "urlaub": ("Urlaub", "Der Antrag auf Urlaub ist von der Leitung zu genehmigen, und das bei jeder Reise."),
}
_QUERIES = {
    "q1": ("how many days off do I get", "leave"),
    "q2": ("kilometre rate by car", "travel"),
    "q3": ("stolen laptop", "laptops"),
    "q4": ("Antrag Elternzeit", "elternzeit"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set in BEIR form, in two languages."""
    made = tmp_path / "set"
    made.mkdir()
    documents = [{"_id": id_, "title": title, "text": text} for id_, (title, text) in _DOCUMENTS.items()]
    queries = [{"_id": id_, "text": text} for id_, (text, _) in _QUERIES.items()]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (made / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    judged = "\n".join(f"{id_}\t{document}\t1" for id_, (_, document) in _QUERIES.items())
    (made / "qrels.tsv").write_text(judged, encoding="utf-8")
    return made


def test_the_product_ranks_as_it_is_ranked_outside(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Document by document: nothing is lost between the model and the search."""
    work, values = tmp_path / "work", tmp_path / "values.json"
    monkeypatch.setattr(sys, "argv", ["ranking", str(folder), "--work", str(work), "--json", str(values)])
    ranking.main()
    assert "the product's" in capsys.readouterr().out

    embedded = embedded_set(folder, work)
    legs = ranking.legs_of(embedded)
    settings = load_settings(data=tmp_path / "state", docs=None)
    measured = measure(
        read_set(folder), settings, mode=SearchMode.HYBRID, with_answers=False, progress=lambda *_: None
    )
    for query, found in legs.items():
        ranked = ranking.ranked(embedded, query, found)["the product's"]
        documents = dict.fromkeys(embedded.documents[int(candidate.chunk_id)] for candidate in ranked)
        assert list(documents) == [document for document, _ in measured.queries[query]["ranking"]]
    outside = json.loads(values.read_text())["the product's"]
    assert outside == {
        f"set/{query}": pytest.approx(found["ndcg@10"]) for query, found in measured.queries.items()
    }


def test_other_fusions_are_what_their_papers_say() -> None:
    """Reciprocal ranks from 1, and scores between the least and the best of a leg."""
    dense = tuple(Candidate(ChunkId(name), score) for name, score in (("a", 0.9), ("b", 0.5), ("c", 0.1)))
    sparse = tuple(Candidate(ChunkId(name), score) for name, score in (("b", 8.0), ("d", 2.0)))
    legs = Legs(dense, sparse)
    ranks = {candidate.chunk_id: candidate.score for candidate in reciprocal_rank(legs, k=60)}
    assert ranks == {"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 63, "d": 1 / 62}
    mixed = {candidate.chunk_id: candidate.score for candidate in convex(legs, dense_weight=0.5)}
    assert mixed == pytest.approx({"a": 0.5, "b": 0.75, "c": 0.0, "d": 0.0})
