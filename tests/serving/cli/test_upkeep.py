"""What operators do: back up and restore, rebuild, verify, and look after a desk that does not run."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.indexes import IndexState, record_in
from retrieval.settings import load_settings
from retrieval.wiring import open_corpus, utc_now
from tests.fakes.hashing_embedder import HashingEmbedder
from tests.fakes.model_server import MODEL, FakeModelServer
from workers.wiring import index_fingerprint

Refdesk = Callable[..., Result]
RefdeskJson = Callable[..., Any]


def test_a_restored_desk_answers_as_before(
    refdesk: Refdesk, refdesk_json: RefdeskJson, tmp_path: Path
) -> None:
    """Backed up while it runs, restored elsewhere, opened by the command itself, damaged and mended."""
    file, state = tmp_path / "desk.tar.gz", tmp_path / "restored"
    assert refdesk("backup", file).exit_code == 0
    assert file.stat().st_mode & 0o077 == 0
    restored = refdesk_json("restore", file, "--data", state)
    assert restored["chunks"] > 0
    assert refdesk("restore", file, "--data", state).stderr.startswith("not_empty")
    asked = refdesk("ask", "How many days of annual leave do employees get?", "--data", state)
    assert "28 days" in asked.stdout, asked.output
    checks = _checks(refdesk_json("doctor", "--data", state))
    assert set(checks.values()) == {"ok"}
    _change_audit_record(state)
    broken = refdesk("audit", "verify", "--data", state)
    assert (broken.exit_code, broken.stderr.partition(":")[0]) == (1, "audit_broken")
    _pretend_other_embedder(state)
    assert refdesk("doctor", "--data", state).exit_code == 1
    assert refdesk("rebuild", "--data", state).exit_code == 0
    assert len(list((state / "indexes").iterdir())) == 1
    assert refdesk("doctor", "--data", state).exit_code == 0


def test_doctor_tries_the_models_that_are_set(
    refdesk: Refdesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A served embedder that answers is well, a reranker that does not is named with what to do."""
    with FakeModelServer(HashingEmbedder()) as server:
        monkeypatch.setenv("REFDESK_EMBEDDER_URL", server.v1)
        monkeypatch.setenv("REFDESK_EMBEDDER_MODEL", MODEL)
        monkeypatch.setenv("REFDESK_RERANKER_URL", server.v1)
        found = refdesk("doctor", "--data", tmp_path / "state", "--json")
    assert found.exit_code == 1
    checks = {check["name"]: check for check in json.loads(found.stdout)["checks"]}
    assert checks["model"]["outcome"] == "ok"
    assert checks["model"]["detail"].startswith(f"{MODEL}/32/")
    assert checks["reranker"]["outcome"] == "failed"
    assert checks["reranker"]["detail"].startswith("reranker_unavailable")
    assert checks["reranker"]["advice"]


def test_a_fresh_desk_stamps_its_index_with_the_fingerprint_of_rebuild(data: Path, tmp_path: Path) -> None:
    """Both composition roots compute one fingerprint; otherwise a rebuilt index would be refused."""
    with open_corpus(load_settings(data=tmp_path)) as corpus:
        expected = index_fingerprint(load_settings(data=tmp_path), corpus)
    with open_corpus(load_settings(data=data)) as corpus:
        build = record_in(SqlIndexBuilds(corpus.database, utc_now), IndexState.ACTIVE)
    assert build is not None
    assert build.fingerprint == expected


def test_a_running_desk_is_rebuilt_and_gone_back(refdesk: Refdesk, refdesk_json: RefdeskJson) -> None:
    """The command speaks to the desk; it answers from the new index, then from the one before."""
    built = refdesk_json("rebuild")
    assert built["chunks"] > 0
    assert "28 days" in refdesk("ask", "How many days of annual leave do employees get?").stdout
    gone_back = refdesk_json("rebuild", "--rollback")
    assert gone_back["index"] != built["index"]
    assert "28 days" in refdesk("ask", "How many days of annual leave do employees get?").stdout


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "blobs/../../outside"])
def test_a_forged_backup_writes_nothing_outside(refdesk: Refdesk, tmp_path: Path, name: str) -> None:
    """It is refused as a whole, and nothing is left behind."""
    file, state = tmp_path / "forged.tar.gz", tmp_path / "in" / "state"
    with tarfile.open(file, "w:gz") as tar:
        contents = {"refdesk-backup.json": b'{"format": 1}', "catalogue.db": b"", name: b"!"}
        for member, content in contents.items():
            header = tarfile.TarInfo(member)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    result = refdesk("restore", file, "--data", state)
    assert result.exit_code == 1
    assert not state.exists()
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "in" / "outside").exists()


def test_a_file_that_is_no_backup_is_refused(refdesk: Refdesk, tmp_path: Path) -> None:
    """One line, and no folder."""
    (tmp_path / "x").write_text("hello")
    result = refdesk("restore", tmp_path / "x", "--data", tmp_path / "state")
    assert result.stderr.startswith("not_a_backup")
    assert not (tmp_path / "state").exists()


def _checks(report: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in report["checks"]}


def _change_audit_record(state: Path) -> None:
    with closing(sqlite3.connect(state / "catalogue.db")) as connection:
        name = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'audit%'").fetchone()[0]
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (trigger,) in triggers:
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(
            f"UPDATE {name} SET body = ? WHERE sequence = (SELECT max(sequence) FROM {name})",
            (json.dumps({"forged": True}),),
        )
        connection.commit()


def _pretend_other_embedder(state: Path) -> None:
    with closing(sqlite3.connect(state / "catalogue.db")) as connection:
        connection.execute("UPDATE indexes SET fingerprint = 'other'")
        connection.commit()
