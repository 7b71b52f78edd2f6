"""The benchmark of embedding, on a handful of passages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.xdist_group("torch")
def test_embedding_is_compared_with_the_naive_way(tmp_path: Path) -> None:
    """Every way embeds the same passages; the exported models' vectors are near the naive ones."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.embedding", "--passages", "6", "--rounds", "1"]
    subprocess.run([*command, "--json", report], cwd=ROOT, check=True, capture_output=True)
    ways = json.loads(report.read_text())["ways"]
    assert ways["naive"]["times_naive"] == 1.0
    assert ways["all-MiniLM-L6-v2"]["cosine_least"] > 0.9999
    assert ways["all-MiniLM-L6-v2-int8"]["cosine_least"] > 0.95
    for way in ways.values():
        assert way["passages_per_s"] > 0
        assert way["question_p50_ms"] > 0
