"""A desk's state as one gzipped tar: a consistent copy of the catalogue, and the blobs beside it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from serving.cli.errors import CommandError

_FORMAT = 1
_MANIFEST, _CATALOGUE, _BLOBS = "refdesk-backup.json", "catalogue.db", "blobs"


def write_backup(data: Path, file: Path, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Write a backup; the file appears complete or not at all, readable by its owner only.

    The catalogue is copied first: texts are stored before the catalogue names them, so every text that the
    copy names is there, save for versions that are replaced and cleared away meanwhile.

    Raises:
        CommandError: The catalogue is not in this folder, or the file cannot be written.
    """
    if not (data / _CATALOGUE).is_file():
        hint = "Back up a catalogue on a database server with the server's own tools, for example pg_dump."
        raise CommandError("not_embedded", f"there is no {_CATALOGUE} in {data}", hint)
    try:
        with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".refdesk-backup-") as scratch:
            copy = Path(scratch) / _CATALOGUE
            _copy_catalogue(data / _CATALOGUE, copy)
            blobs = sorted(path for path in (data / _BLOBS).rglob("*") if path.is_file())
            facts = {"format": _FORMAT, "made_at": datetime.now(UTC).isoformat(), "blobs": len(blobs)}
            whole = Path(scratch) / "whole.tar.gz"
            with tarfile.open(whole, "w:gz", compresslevel=5) as tar:
                manifest = Path(scratch) / _MANIFEST
                manifest.write_text(json.dumps(facts), encoding="utf-8")
                tar.add(manifest, _MANIFEST)
                tar.add(copy, _CATALOGUE)
                for done, path in enumerate(blobs, start=1):
                    _add(tar, path, str(PurePosixPath(_BLOBS) / path.relative_to(data / _BLOBS).as_posix()))
                    progress(done, len(blobs))
            whole.chmod(0o600)
            whole.replace(file)
    except OSError as error:
        raise CommandError("backup_failed", f"{file} cannot be written: {error.strerror or error}") from error
    return {**facts, "size_bytes": file.stat().st_size}


def read_backup(file: Path, data: Path) -> dict[str, Any]:
    """Unpack a backup into a folder that is empty or absent; nothing is left behind when that fails.

    Raises:
        CommandError: The folder holds something, or the file is no backup.
    """
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        hint = "Name an empty folder with --data; a restore never writes over a desk."
        raise CommandError("not_empty", f"{data} is not empty", hint)
    data.absolute().parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=data.absolute().parent, prefix=".refdesk-restore-"))
    try:
        with tarfile.open(file, "r:gz") as tar:
            tar.extractall(scratch, members=_expected_members(tar), filter="data")
        facts: dict[str, Any] = json.loads((scratch / _MANIFEST).read_text(encoding="utf-8"))
        if facts.get("format") != _FORMAT:
            raise CommandError("not_a_backup", f"{file} has a format that this version does not read")
        _check_catalogue(scratch / _CATALOGUE)
        told = {"made_at": str(facts["made_at"]), "blobs": int(facts["blobs"])}
        (scratch / _MANIFEST).unlink()
        if data.exists():
            data.rmdir()
        scratch.replace(data)
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, sqlite3.Error) as error:
        raise CommandError("not_a_backup", f"{file} cannot be restored: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"restored_from": str(file), **told}


def _copy_catalogue(source: Path, target: Path) -> None:
    """SQLite's own online backup: a state between two transactions, whoever writes meanwhile."""
    address = f"{source.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as present, closing(sqlite3.connect(target)) as copy:
        present.backup(copy)
    target.chmod(0o600)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    try:
        tar.add(path, name)
    except FileNotFoundError:  # of a version that was replaced a moment ago
        return


def _expected_members(tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """Members of a backup; a file that holds anything else is refused as a whole."""
    members = tar.getmembers()
    names = {member.name for member in members}
    if not {_MANIFEST, _CATALOGUE} <= names or not all(_is_expected(member) for member in members):
        raise CommandError("not_a_backup", "the file is no backup of a desk")
    return members


def _is_expected(member: tarfile.TarInfo) -> bool:
    parts = PurePosixPath(member.name).parts
    is_known = member.name in (_MANIFEST, _CATALOGUE) or (parts[:1] == (_BLOBS,) and ".." not in parts)
    return member.isfile() and is_known


def _check_catalogue(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        outcome = connection.execute("PRAGMA integrity_check").fetchone()[0]
    if outcome != "ok":
        raise CommandError("not_a_backup", f"the catalogue in the backup is damaged: {outcome}")
