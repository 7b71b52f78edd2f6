"""Figures, medians and the page, from reports made by hand."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import benchmarks.rivals.contract
import benchmarks.rivals.results
import benchmarks.rivals.rows
from benchmarks.rivals import results
from benchmarks.rivals.page import page
from benchmarks.rivals.results import Measurement, SetFacts
from benchmarks.rivals.rows import OURS, RIVALS, SETUPS, in_turn
from retrieval.metrics import RANKING_MEASURES
from serving.cli.saved_run import compare

_ROOT = Path(__file__).parent.parent.parent
_FACTS = SetFacts("tiny", "0", 10, 2)
_INDEXED: dict[str, Any] = {
    "n_documents": 10, "n_chunks": 40, "n_tokens": 8000, "n_tokens_cut": 2000,
    "index_s": 4.0, "cpu_s": 8.0, "ready_s": 1.0, "peak_mb": 100.0,
}  # fmt: skip
_SEARCHED: dict[str, Any] = {
    "cold_start_s": 2.0, "latencies_ms": [float(i) for i in range(1, 101)],
    "queries_per_cpu_s": 5.0, "peak_mb": 50.0,
}  # fmt: skip


def _measured(row: str = OURS, round_number: int = 1, **changes: Any) -> Measurement:
    made = Measurement(
        _FACTS,
        row,
        round_number,
        results.index_figures(_INDEXED, disk_mb=3.0),
        results.search_figures(_SEARCHED),
        dict.fromkeys(RANKING_MEASURES, 0.5),
        {"library": "1.2"},
        0.7,
    )
    return replace(made, **changes)


@pytest.mark.parametrize(
    "module", [benchmarks.rivals.contract, benchmarks.rivals.results, benchmarks.rivals.rows]
)
def test_examples_in_the_docstrings_hold(module: Any) -> None:
    """The modules' doctests pass."""
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_index_figures_are_rates_and_shares() -> None:
    """By hand: 10 documents and 40 chunks in 4 s and 8 CPU seconds, a quarter of 8,000 wordpieces cut."""
    found = results.index_figures({**_INDEXED, "failures": {"no_text": 1, "corrupt": 2}}, disk_mb=3.0)
    assert (found["documents_per_s"], found["chunks_per_s"], found["chunks_per_cpu_s"]) == (2.5, 10, 5)
    assert (found["tokens_read_per_s"], found["cut_share"], found["missing"]) == (1500, 0.25, 3)


def test_search_figures_are_nearest_rank_percentiles() -> None:
    """Of 1 to 100 ms."""
    found = results.search_figures(_SEARCHED)
    assert (found["p50_ms"], found["p95_ms"]) == (50, 95)


def test_a_query_without_a_ranking_counts_zero() -> None:
    """A library that finds nothing is not excused."""
    found = results.judged({"q1": [["d1", 0.5]]}, {"q1": {"d1": 1}, "q2": {"d2": 1}})
    assert found["q1"]["ranking"] == [("d1", 0.5)]
    assert results.means(found) == dict.fromkeys(RANKING_MEASURES, 0.5)


def test_measurements_survive_the_file_and_the_last_one_counts(tmp_path: Path) -> None:
    """A failed round that was measured again is forgotten."""
    file = tmp_path / "work" / "results.jsonl"
    assert results.read(file) == []
    results.append(file, _measured(failure="no memory"))
    results.append(file, _measured())
    results.append(file, _measured(round_number=2))
    assert results.read(file) == [_measured(), _measured(round_number=2)]


def test_every_row_has_a_name_a_runner_and_an_environment() -> None:
    """Names are unique; every rival's versions are pinned."""
    names = [row.name for setup in SETUPS for row in setup.rows]
    assert len(set(names)) == len(names)
    assert OURS in names
    folder = _ROOT / "benchmarks" / "rivals"
    for rival in {setup.rival for setup in SETUPS}:
        assert (folder / f"run_{rival}.py").exists()
    for rival in RIVALS:
        assert "--hash=sha256:" in (folder / f"{rival}.lock").read_text()


def test_every_round_runs_every_setup_and_none_is_always_first() -> None:
    """Over as many rounds as there are setups each is first once."""
    firsts = [in_turn(number)[0] for number in range(1, len(SETUPS) + 1)]
    assert sorted(map(repr, firsts)) == sorted(map(repr, SETUPS))
    assert sorted(map(repr, in_turn(5))) == sorted(map(repr, SETUPS))


def test_the_page_shows_medians_differences_and_failures() -> None:
    """Three rounds of ours, one rival, one rival that failed at a path of this machine."""
    rounds = [
        _measured(round_number=number, search={**results.search_figures(_SEARCHED), "p50_ms": ms})
        for number, ms in ((1, 10.0), (2, 90.0), (3, 20.0))
    ]
    rival = _measured("haystack-quick")
    failed = Measurement(
        _FACTS, "txtai-quick", 1, failure="Traceback\nOSError: '/tmp/secret/place/file.bin' lacks x\n"
    )
    queries = {name: {**dict.fromkeys(RANKING_MEASURES, 0.5), "ranking": []} for name in ("q1", "q2")}
    compared = {("tiny", "haystack-quick"): compare(queries, queries)}
    made = page([*rounds, rival, failed], compared, {"cores": "2"}, images="pictures")
    assert "| Refdesk | 2 | 20 | 95 | 5 | 50 |" in made.text
    assert "| Refdesk | 40 of 200 wordpieces | 25.0% | 2.5 | 10 | 5 | 1500 | 5 | 100 | 3 |" in made.text
    assert "| Haystack, quick start | +0.0000 | +0.0000 to +0.0000 | too few queries |" in made.text
    assert "- txtai, quick start: OSError: 'file.bin' lacks x" in made.text
    assert "Too few questions" in made.text
    assert "| library 1.2 |" in made.text.replace("versions ", "")
    assert "/tmp" not in made.text
    for name in made.charts:
        assert f"](pictures/{name})" in made.text


def test_the_mean_is_over_rows_that_were_measured_on_every_set() -> None:
    """A row that is missing on one set would have another mean than the rest."""
    other = SetFacts("other", "1", 5, 400)
    measured = [
        _measured(),
        _measured(set=other, quality=dict.fromkeys(RANKING_MEASURES, 0.7)),
        _measured("haystack-quick", set=other),
    ]
    text = page(measured, {}, {}, images="images").text
    overview = text.split("## Quality, mean over 2 set(s)")[1].split("## other")[0]
    assert "| Refdesk | 0.6000 |" in overview
    assert "Haystack" not in overview


def test_figures_of_an_earlier_state_of_a_set_are_left_out() -> None:
    """They were measured on other documents or questions."""
    earlier = _measured("txtai-rrf", set=replace(_FACTS, digest="old"))
    text = page([earlier, _measured()], {}, {}, images="images").text
    assert "| Refdesk | 0.5000 |" in text
    assert "| txtai, hybrid (RRF) | 0.5000 |" not in text


@pytest.mark.parametrize(("load", "is_told"), [(2.9, False), (3.1, True)])
def test_the_page_tells_that_the_machine_was_busy(load: float, is_told: bool) -> None:
    """Two cores and one run before: more than that is somebody else's work, and spoils every time."""
    text = page([_measured(), _measured(round_number=2, load=load)], {}, {"cores": "2"}, images="images").text
    assert ("The machine was busy" in text) is is_told


def test_a_page_of_nothing_is_a_page() -> None:
    """Before anything was measured."""
    assert page([], {}, {}, images="images").text.startswith("# Benchmarks")
