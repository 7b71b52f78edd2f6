"""Compares files, catalogue and index, with code of its own: plain SQL, plain HTTP. Run as a process of its own.

    python -m tests.faults.checker CATALOGUE_URL INDEX_URL DOCS

Prints one JSON object: for each kind of fault the names or ids that show it. All empty means that all is well.
"""

from __future__ import annotations

import hashlib
import json
import sys
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg

_DOCUMENTS = """
select d.external_id, d.state, d.deleted_at is not null, v.content_hash
from documents d left join versions v on v.id = d.live_version_id
"""
_LIVE_CHUNKS = """
select c.id, d.external_id, c.position from chunks c join documents d on d.live_version_id = c.version_id
where d.deleted_at is null
"""


def compare(catalogue_url: str, index_url: str, docs: Path) -> dict[str, list[str]]:
    """Faults by kind.

    lost: files that are not live. stale: live documents that are not what the file is. undead: deleted files
    that are live. doubled: places of a document that hold more than one live chunk, or more than one row for a
    file. missing, surplus: points that the index lacks, or has too many.
    """
    with psycopg.connect(catalogue_url.replace("+psycopg", "")) as connection:
        documents = connection.execute(_DOCUMENTS).fetchall()
        chunks = connection.execute(_LIVE_CHUNKS).fetchall()
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in docs.glob("*.md")}
    live = {name: hashed for name, _, deleted, hashed in documents if hashed is not None and not deleted}
    unfinished = {name for name, state, deleted, _ in documents if not deleted and state != "live"}
    points = _points(index_url)
    wanted = {id_ for id_, _, _ in chunks}
    places = Counter((name, position) for _, name, position in chunks)
    rows = Counter(name for name, *_ in documents)
    return {
        "lost": sorted((set(files) - set(live)) | (unfinished & set(files))),
        "stale": sorted(name for name, hashed in files.items() if live.get(name, hashed) != hashed),
        "undead": sorted(set(live) - set(files)),
        "doubled": sorted(str(place) for place, n in (places | rows).items() if n > 1),
        "missing": sorted(wanted - set(points)),
        "surplus": sorted(set(points) - wanted) + [id_ for id_, n in Counter(points).items() if n > 1],
    }


def _points(index_url: str) -> list[str]:
    points: list[str] = []
    (collection,) = _ask(f"{index_url}/collections")["collections"]
    offset = None
    while True:
        body = {"limit": 1000, "offset": offset}
        page = _ask(f"{index_url}/collections/{collection['name']}/points/scroll", body)
        points += [point["id"] for point in page["points"]]
        offset = page["next_page_offset"]
        if offset is None:
            return points


def _ask(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as reply:
        return json.load(reply)["result"]


if __name__ == "__main__":
    print(json.dumps(compare(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
