"""`refdesk eval` on a set of twelve documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from retrieval.comparing import Half, half_of
from retrieval.metrics import RANKING_MEASURES
from serving.cli.beir import read_set, write_folder
from serving.cli.errors import CommandError
from serving.cli.saved_run import read_run, write_run
from tests.fakes.hashing_embedder import HashingEmbedder
from tests.fakes.model_server import MODEL, FakeModelServer
from tests.fakes.overlap_reranker import OverlapReranker

Refdesk = Callable[..., Result]
RefdeskJson = Callable[..., Any]

_TOPICS = ("rabbits", "volcanoes", "bicycles", "glaciers", "saffron", "telescopes")
_FIELDS = {
    "ndcg@10", "recall@10", "recall@100", "mrr@10", "n_queries", "n_documents", "n_chunks", "ingest_s",
    "docs_per_s", "chunks_per_s", "search_p50_ms", "search_p95_ms", "peak_rss_mb", "config",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve documents, six questions with answers, one without."""
    made = tmp_path_factory.mktemp("set")
    documents = [
        {"_id": f"d{i}", "title": f"About {topic}", "text": f"The museum of {topic} keeps {i + 31} items."}
        for i, topic in enumerate(_TOPICS)
    ]
    documents += [
        {"_id": f"h{i}", "title": "", "text": f"<p>Opening hours of hall {i}: from {i + 6} o'clock.</p>"}
        for i in range(6)
    ]
    queries = [
        {"_id": f"q{i}", "text": f"How many items does the museum of {topic} keep?"}
        for i, topic in enumerate(_TOPICS)
    ]
    queries += [{"_id": "q9", "text": "Who invented the steam engine?"}, {"_id": "unjudged", "text": "x"}]
    answers: list[dict[str, object]] = [{"_id": f"q{i}", "answers": [str(i + 31)]} for i in range(6)]
    answers += [{"_id": "q9", "answers": [""], "answerable": False}]
    for name, rows in (("corpus", documents), ("queries", queries), ("answers", answers)):
        (made / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{i}\td{i}\t1\nq{i}\th{i}\t0\n" for i in range(6))
    (made / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return made


def test_eval_measures_search_and_answers(refdesk: Refdesk, refdesk_json: RefdeskJson, folder: Path) -> None:
    """Every field of the contract, sensible values, and no difference of a run to itself."""
    cache, run = folder.parent / "cache", folder.parent / "run.json"
    found = refdesk_json("eval", folder, "--embeddings-cache", cache, "--save", run)
    assert found.keys() >= _FIELDS
    assert (found["n_documents"], found["n_queries"]) == (12, 6)
    assert found["ndcg@10"] == found["recall@100"] == 1.0
    assert found["answer_contains"] == 1.0
    assert found["citation_recall"] == 1.0
    assert found["abstention_recall"] == 1.0
    assert found["peak_rss_mb"] > 50
    assert found["config"]["documents_failed"] == {}
    assert (cache / "embeddings.db").exists()
    kept = read_run(run)
    assert kept.queries.keys() == {f"q{i}" for i in range(6)}
    first, *rest = kept.queries["q0"]["ranking"]
    assert first[0] == "d0"
    assert len(rest) == 11
    assert all(one[1] >= other[1] for one, other in pairwise([first, *rest]))
    again = refdesk_json(
        "eval", folder, "--embeddings-cache", cache, "--mode", "sparse", "--no-answers", "--against", run,
        "--limit-queries", 4,
    )  # fmt: skip
    assert again["n_queries"] == 4
    assert (again["against"]["n_queries"], again["against"]["enough_queries"]) == (4, False)
    assert again["against"]["measures"]["ndcg@10"] == {
        "ours": 1.0, "theirs": 1.0, "difference": 0.0, "interval_95": [0.0, 0.0], "verdict": "too few queries",
    }  # fmt: skip
    assert "answer_f1" not in again


def test_eval_measures_with_other_models_and_says_which(
    refdesk_json: RefdeskJson, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An embedder and a reranker on a server; searches that the reranker left alone are counted."""
    with FakeModelServer(HashingEmbedder(), OverlapReranker()) as server:
        for part in ("EMBEDDER", "RERANKER"):
            monkeypatch.setenv(f"REFDESK_{part}_URL", server.v1)
            monkeypatch.setenv(f"REFDESK_{part}_MODEL", MODEL)
        config = refdesk_json("eval", folder, "--no-answers")["config"]
        assert config["index"].startswith(f"{MODEL}/32/")
        assert (config["reranker"], config["rerank_depth"]) == (f"{MODEL}/server", 50)
        assert config["searches_degraded"] == 0
        server.reranker = None
        found = refdesk_json("eval", folder, "--no-answers", "--limit-queries", 3)
        assert found["config"]["searches_degraded"] == 3
        assert found["recall@100"] == 1.0


def test_eval_of_one_half_prints_a_table(refdesk: Refdesk, folder: Path, tmp_path: Path) -> None:
    """Half of the queries, compared with the whole, in words for people."""
    run = tmp_path / "whole.json"
    read = read_set(folder)
    values = dict.fromkeys(RANKING_MEASURES, 0.5)
    write_run(run, read, {}, {query: {**values, "ranking": []} for query in read.judgements})
    result = refdesk("eval", folder, "--half", "test", "--no-answers", "--against", run)
    assert result.exit_code == 0, result.output
    rows = dict(line.split("\t", 1) for line in result.stdout.splitlines() if "\t" in line)
    n_test = sum(half_of(query) is Half.TEST for query in read.judgements)
    assert 0 < n_test < 6
    assert rows["n_queries"] == str(n_test)
    assert rows["mrr@10"] == "1.0\t0.5\t+0.5000\t+0.5000 to +0.5000\ttoo few queries"
    assert f"{n_test} common queries" in result.stdout
    assert "too few to decide" in result.stdout
    assert '"half": "test"' in result.stderr


def test_halves_part_a_set_and_keep_its_digest(folder: Path) -> None:
    """No query is in both or in none; a sample of a half is still the same set."""
    read = read_set(folder)
    halves = [read.half(half) for half in Half]
    assert not halves[0].judgements.keys() & halves[1].judgements.keys()
    assert halves[0].judgements.keys() | halves[1].judgements.keys() == read.judgements.keys()
    assert halves[0].expected.keys() | halves[1].expected.keys() == read.expected.keys()
    assert {half.sampled(1).digest for half in halves} == {read.digest}
    assert read.half(None) is read


def test_the_digest_tells_sets_apart_but_not_the_order_of_lines(folder: Path, tmp_path: Path) -> None:
    """Another grade, text or document makes another set."""
    read = read_set(folder)
    for path in folder.iterdir():
        lines = path.read_text().splitlines(keepends=True)
        (tmp_path / path.name).write_text("".join(lines[:1] + lines[:0:-1]))
    assert read_set(tmp_path).digest == read.digest
    (tmp_path / "qrels.tsv").write_text((folder / "qrels.tsv").read_text().replace("q0\td0\t1", "q0\td0\t2"))
    assert read_set(tmp_path).digest != read.digest


def test_titles_and_markup_are_kept(folder: Path, tmp_path: Path) -> None:
    """HTML text becomes an HTML file; titles stand in `.refdesk.toml`, whatever characters they hold."""
    import tomllib
    from dataclasses import replace

    documents = read_set(folder).documents
    odd = replace(documents[0], title='A "title"\\ with \x7f, \t and ü')
    ids = write_folder((odd, *documents[1:]), tmp_path / "out")
    assert [name.rpartition(".")[2] for name in ids] == ["txt"] * 6 + ["html"] * 6
    rules = tomllib.loads((tmp_path / "out" / ".refdesk.toml").read_text())
    assert rules["documents"]["000000.txt"]["title"] == odd.title


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("corpus.jsonl", "{"),
        ("corpus.jsonl", '{"_id": 1}'),
        ("qrels.tsv", "a\tb\n1\t2"),
        ("queries.jsonl", None),
    ],
)
def test_a_folder_that_is_no_set_is_refused(
    folder: Path, tmp_path: Path, file: str, content: str | None
) -> None:
    """The message names the file."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_text(content)
    with pytest.raises(CommandError, match=file.partition(".")[0]):
        read_set(tmp_path)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, "no_common_queries"),
        ({"format": 2}, "unreadable_run"),
        ({"queries": {"q0": {"ranking": []}}}, "unreadable_run"),
        ({"set": {"name": "another", "digest": "0"}}, "other_set"),
        (None, "unreadable_run"),
    ],
)
def test_eval_refuses_a_run_that_it_cannot_compare_with(
    refdesk: Refdesk, folder: Path, tmp_path: Path, changed: dict[str, object] | None, code: str
) -> None:
    """Before anything is indexed."""
    run = tmp_path / "run.json"
    write_run(run, read_set(folder), {}, {"gone": {**dict.fromkeys(RANKING_MEASURES, 1.0), "ranking": []}})
    run.write_text("{" if changed is None else json.dumps(json.loads(run.read_text()) | changed))
    result = refdesk("eval", folder, "--against", run)
    assert result.exit_code == 1
    assert result.stderr.startswith(code)


def test_eval_refuses_to_save_where_it_cannot(refdesk: Refdesk, folder: Path, tmp_path: Path) -> None:
    """Not after an hour of indexing."""
    result = refdesk("eval", folder, "--save", tmp_path / "absent" / "run.json")
    assert result.stderr.startswith("unwritable_run")
