"""Writes small Slack exports as Slack lays them out: lists at the top, a folder a channel, a file a day."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

USERS = [
    {"id": "U1", "name": "mara", "profile": {"display_name": "Mara", "email": "mara@example.org"}},
    {"id": "U2", "name": "ola", "real_name": "Ola Berg", "profile": {"email": "Ola@example.org"}},
    {"id": "U3", "name": "left", "deleted": True, "profile": {"email": "left@example.org"}},
    {"id": "U4", "name": "nomail", "profile": {"display_name": "No Mail"}},
    {"id": "U5", "name": "bot", "is_bot": True, "profile": {"email": "bot@example.org"}},
]
CHANNELS = {
    "channels.json": [
        {"id": "C1", "name": "general", "is_archived": False, "members": ["U1", "U2"]},
        {"id": "C2", "name": "random", "members": []},
    ],
    "groups.json": [
        {"id": "G1", "name": "board", "members": ["U1", "U3", "U4", "U5", "U9"]},
        {"id": "G2", "name": "unknown-members"},
    ],
    "dms.json": [{"id": "D1", "members": ["U1", "U2"]}],
    "mpims.json": [{"id": "G3", "name": "mpdm-mara--ola--nomail-1", "members": ["U1", "U2", "U4"]}],
}
START = 1_764_000_000
"""2025-11-24 16:00 UTC."""


def message(second: int, text: str, user: str = "U1", **fields: Any) -> dict[str, Any]:
    """A message `second` seconds after `START`."""
    return {"type": "message", "user": user, "text": text, "ts": f"{START + second}.000100", **fields}


def write_export(
    folder: Path, days: dict[str, list[dict[str, Any]]], **lists: list[dict[str, Any]] | None
) -> Path:
    """Write an export with these messages by channel folder; `lists` replaces a list, None leaves it out."""
    files: dict[str, Any] = {"users.json": USERS, **CHANNELS}
    files |= {f"{name}.json": value for name, value in lists.items()}
    for channel, messages in days.items():
        for item in messages:
            day = datetime.fromtimestamp(float(item["ts"]), UTC).date()
            files.setdefault(f"{channel}/{day}.json", []).append(item)
    for name, value in files.items():
        if value is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value).replace("/", "\\/"))
    return folder


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    """The same export as a zip file."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(folder).as_posix())
    return target
