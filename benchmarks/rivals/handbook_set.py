"""A retrieval set from what the project ships: the sample handbook and its answerable questions."""

from __future__ import annotations

import json
from pathlib import Path

from ingest.parsing import parse

_SAMPLE = Path(__file__).parent.parent.parent / "sample"


def write_handbook_set(folder: Path) -> None:
    """Write the set in BEIR form; documents are the parsed text of the handbook's files.

    A question with several documents counts each of them as relevant.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handbook = _SAMPLE / "handbook"
    files = sorted(path for path in handbook.rglob("*") if path.is_file() and path.name != ".refdesk.toml")
    documents = []
    for path in files:
        parsed = parse(path.read_bytes(), name=path.name)
        name = path.relative_to(handbook).as_posix()
        documents.append({"_id": name, "title": parsed.title or path.stem, "text": parsed.text})
    questions = [
        json.loads(line)
        for name in ("questions.jsonl", "hard.jsonl")
        for line in (_SAMPLE / "quality" / name).read_text(encoding="utf-8").splitlines()
    ]
    answerable = [question for question in questions if not question["unanswerable"]]
    _write(folder / "corpus.jsonl", documents)
    _write(folder / "queries.jsonl", [{"_id": each["_id"], "text": each["text"]} for each in answerable])
    judged = [f"{each['_id']}\t{document}\t1" for each in answerable for document in each["documents"]]
    (folder / "qrels.tsv").write_text(
        "\n".join(("query-id\tcorpus-id\tscore", *judged, "")), encoding="utf-8"
    )


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
