"""`refdesk audit`: what auditors do with the trail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Refdesk = Callable[..., Result]
RefdeskJson = Callable[..., Any]


def test_a_head_that_was_noted_is_compared(refdesk: Refdesk, refdesk_json: RefdeskJson) -> None:
    """As it was printed; another one is a broken trail, and one that cannot be read wrong usage."""
    refdesk("directory", "put", "noted")
    head = refdesk_json("audit", "verify")["head"]
    refdesk("directory", "put", "noted")
    assert refdesk_json("audit", "verify", "--head", head)["intact"] is True
    number, _, hash_ = head.partition(":")
    forged = refdesk("audit", "verify", "--head", f"{number}:{hash_[::-1]}")
    assert (forged.exit_code, forged.stderr.partition(":")[0]) == (1, "audit_broken")
    assert refdesk("audit", "verify", "--head", "nonsense").exit_code == 2


def test_an_export_is_a_file_of_ones_own(refdesk: Refdesk, tmp_path: Path) -> None:
    """Complete, readable by its owner only; the next export tells of this one."""
    file = tmp_path / "audit.jsonl"
    refdesk("directory", "put", "exported")
    done = refdesk("audit", "export", "--out", file)
    assert done.exit_code == 0, done.output
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert done.stderr == f"{len(records)} records in {file}\n"
    assert file.stat().st_mode & 0o077 == 0
    again = refdesk("audit", "export", "--event", "audit.export", "--format", "csv")
    assert len(again.stdout.splitlines()) >= 2
    assert again.stdout.startswith("sequence,at,event,")


@pytest.mark.parametrize("when", ["2001-01-01", "2001-01-01T09:00:00+01:00"])
def test_an_export_is_of_a_span(refdesk: Refdesk, when: str) -> None:
    """A day or a moment; nothing is a file without records."""
    assert refdesk("audit", "export", "--until", when).stdout == ""
    assert refdesk("audit", "export", "--since", "yesterday").exit_code == 2


def test_a_person_is_erased_after_a_look(refdesk: Refdesk, refdesk_json: RefdeskJson) -> None:
    """First it is said what would go; then it is gone, beside a desk that runs, and the trail is whole."""
    refdesk("directory", "put", "gone.soon", "--group", "staff")
    refdesk("ask", "How many days of annual leave do employees get?", "-u", "gone.soon")
    looked = refdesk_json("audit", "erase", "gone.soon")
    assert {place["place"] for place in looked["places"]} >= {"users.id", "audit_parts.content"}
    assert refdesk_json("audit", "erase", "gone.soon") == looked
    done = refdesk_json("audit", "erase", "gone.soon", "--yes")
    assert done == {"erased": True, "places": looked["places"]}
    assert refdesk("audit", "erase", "gone.soon", "--yes").stdout == "Nothing here names this person.\n"
    assert refdesk("audit", "erase", "local", "--yes").exit_code == 1
    assert refdesk_json("audit", "verify")["erased"] >= 3
    assert "gone.soon" not in refdesk("audit", "export").stdout
    assert refdesk("search", "leave", "-u", "gone.soon").stderr.startswith("unknown_user")


def test_pruning_counts_before_it_removes(refdesk: Refdesk, refdesk_json: RefdeskJson) -> None:
    """Nothing here is old enough; and nobody keeps less than six months."""
    assert refdesk_json("audit", "prune")["would_be_pruned"] == 0
    assert refdesk_json("audit", "prune", "--yes")["pruned"] == 0


def test_a_trail_kept_for_less_than_six_months_is_refused(
    refdesk: Refdesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the setting."""
    monkeypatch.setenv("REFDESK_AUDIT_DAYS", "182")
    result = refdesk("audit", "prune")
    assert (result.exit_code, "audit_days" in result.stderr) == (2, True)
