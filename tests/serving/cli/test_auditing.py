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
