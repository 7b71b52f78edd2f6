"""`refdesk eval` on a set of twelve documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from serving.cli.beir import read_set, write_folder
from serving.cli.errors import CommandError

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
    found = refdesk_json("eval", folder, "--embeddings-cache", cache, "--per-query", run)
    assert found.keys() >= _FIELDS
    assert (found["n_documents"], found["n_queries"]) == (12, 6)
    assert found["ndcg@10"] == found["recall@100"] == 1.0
    assert found["answer_contains"] == 1.0
    assert found["citation_recall"] == 1.0
    assert found["abstention_recall"] == 1.0
    assert found["peak_rss_mb"] > 50
    assert found["config"]["documents_failed"] == {}
    assert (cache / "embeddings.db").exists()
    again = refdesk_json(
        "eval", folder, "--embeddings-cache", cache, "--mode", "sparse", "--no-answers", "--against", run,
        "--limit-queries", 4,
    )  # fmt: skip
    assert again["n_queries"] == 4
    assert again["against"]["ndcg@10"] == {
        "difference": 0.0, "interval_95": [0.0, 0.0], "n_queries": 4, "clear": False,
    }  # fmt: skip
    assert "answer_f1" not in again


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


def test_eval_refuses_a_run_file_that_is_none(refdesk: Refdesk, folder: Path) -> None:
    """Before anything is indexed."""
    result = refdesk("eval", folder, "--against", folder / "qrels.tsv")
    assert result.exit_code == 1
    assert result.stderr.startswith("unreadable_run")
