"""Retrieval sets in BEIR form: read, sampled, and laid out as a folder of files that the desk can index.

The form is that of Thakur et al., "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information
Retrieval Models" (2021): `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`), and
judgements in `qrels.tsv` or `qrels/test.tsv` (query, document, grade). `answers.jsonl` is optional: `_id`
with `answers` (or `accepted`) and `unanswerable: true` (or `answerable: false`).
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from retrieval.comparing import Half, half_of
from retrieval.metrics import relevant_of
from serving.cli.errors import CommandError
from serving.evaluation import Expected

K = TypeVar("K")

_SEED = 20_260_101
_MARKUP = re.compile(
    r"\s*<(!doctype|html|head|body|div|p|h[1-6]|table|ul|ol|section|article|main|header|span|font|center)\b",
    re.IGNORECASE,
)


class UnreadableSetError(CommandError):
    """A folder does not hold a retrieval set in BEIR form."""

    def __init__(self, message: str) -> None:
        """Fail with this sentence."""
        hint = "Expected are corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv); see docs/cli.md."
        super().__init__("unreadable_set", message, hint)


@dataclass(frozen=True, slots=True)
class SetDocument:
    """One document of a set."""

    id: str
    title: str
    text: str

    @property
    def file_ending(self) -> str:
        """`.html` for text that is markup, else `.txt`."""
        return ".html" if _MARKUP.match(self.text) else ".txt"


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """A set in memory.

    Attributes:
        queries: Text by query id, for every query that is judged or has an expected answer.
        judgements: Grade by document id, by query id; every query here has a relevant document.
        expected: What is said about answers, by query id; empty without `answers.jsonl`.
        digest: SHA-256 of documents, queries and judgements as they were read; a sample or half keeps it.
    """

    name: str
    documents: tuple[SetDocument, ...]
    queries: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]
    expected: Mapping[str, Expected]
    digest: str

    def half(self, half: Half | None) -> RetrievalSet:
        """The set with the judged queries and expected answers of one half, or as it is for None."""
        if half is None:
            return self
        return replace(self, judgements=_half(self.judgements, half), expected=_half(self.expected, half))

    def sampled(self, n_queries: int | None) -> RetrievalSet:
        """The set with at most so many judged queries and so many expected answers, always the same ones."""
        if n_queries is None:
            return self
        return replace(
            self,
            judgements=_sample(self.judgements, n_queries),
            expected=_sample(self.expected, n_queries),
        )


def read_set(folder: Path) -> RetrievalSet:
    """Read a set.

    Raises:
        UnreadableSetError: A file is missing or does not have the form; the message names it.
    """
    queries = {str(row["_id"]): str(row["text"]) for row in _rows(folder / "queries.jsonl", ("_id", "text"))}
    documents = tuple(
        SetDocument(str(row["_id"]), str(row.get("title") or "").strip(), str(row["text"]))
        for row in _rows(folder / "corpus.jsonl", ("_id", "text"))
    )
    judgements = _judgements(folder, queries)
    return RetrievalSet(
        name=folder.resolve().name,
        documents=documents,
        queries=queries,
        judgements=judgements,
        expected=_expected(folder / "answers.jsonl", queries, judgements),
        digest=_digest(documents, queries, judgements),
    )


def write_folder(documents: Sequence[SetDocument], folder: Path) -> dict[str, str]:
    """Write each document as a file, its title beside it in `.refdesk.toml`. Returns ids by file name."""
    folder.mkdir(parents=True)
    ids, rules = {}, []
    for number, document in enumerate(documents):
        name = f"{number:06d}{document.file_ending}"
        (folder / name).write_text(document.text.strip() or document.title, encoding="utf-8")
        ids[name] = document.id
        if document.title:
            rules.append(f"[documents.{_quoted(name)}]\ntitle = {_quoted(document.title)}\n")
    (folder / ".refdesk.toml").write_text("\n".join(rules), encoding="utf-8")
    return ids


def _rows(path: Path, required: Sequence[str]) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict) or any(name not in row for name in required):
                    raise UnreadableSetError(f"{path.name}, line {number}: {' and '.join(required)} expected")
                yield row
    except (OSError, ValueError) as error:
        raise UnreadableSetError(f"{path} cannot be read: {error}") from error


def _judgements(folder: Path, queries: Mapping[str, str]) -> dict[str, dict[str, int]]:
    candidates = (folder / "qrels.tsv", folder / "qrels" / "test.tsv")
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise UnreadableSetError(f"{folder} holds neither qrels.tsv nor qrels/test.tsv")
    found: dict[str, dict[str, int]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split("\t")
        if not line.strip() or (number == 1 and not _is_grade(fields[-1])):
            continue
        if len(fields) not in (3, 4) or not _is_grade(fields[-1]):
            raise UnreadableSetError(f"{path.name}, line {number}: query, document and grade expected")
        found.setdefault(fields[0], {})[fields[-2]] = int(fields[-1])
    return {query: grades for query, grades in found.items() if query in queries and relevant_of(grades)}


def _expected(
    path: Path, queries: Mapping[str, str], judgements: Mapping[str, Mapping[str, int]]
) -> dict[str, Expected]:
    if not path.is_file():
        return {}
    found = {}
    for row in _rows(path, ("_id",)):
        query = str(row["_id"])
        if query not in queries:
            continue
        answerable = not row.get("unanswerable", False) and bool(row.get("answerable", True))
        found[query] = Expected(
            answers=_accepted(row) if answerable else (),
            is_answerable=answerable,
            relevant=relevant_of(judgements.get(query, {})),
        )
    return found


def _accepted(row: Mapping[str, Any]) -> tuple[str, ...]:
    stated = row.get("accepted") or row.get("answers") or row.get("answer") or []
    listed = [stated] if isinstance(stated, str) else stated
    return tuple(str(answer) for answer in listed if str(answer).strip())


def _digest(
    documents: Sequence[SetDocument],
    queries: Mapping[str, str],
    judgements: Mapping[str, Mapping[str, int]],
) -> str:
    """One value for what a set holds, whatever the order of its lines."""
    made = hashlib.sha256()
    rows = [("d", document.id, document.title, document.text) for document in documents]
    rows += [
        ("q", query, queries[query], json.dumps(judgements[query], sort_keys=True)) for query in judgements
    ]
    for row in sorted(rows):
        made.update(json.dumps(row).encode() + b"\n")
    return made.hexdigest()


def _half(items: Mapping[str, K], half: Half) -> dict[str, K]:
    return {id_: item for id_, item in items.items() if half_of(id_) is half}


def _sample(items: Mapping[str, K], size: int) -> dict[str, K]:
    ids = sorted(items)
    chosen = set(random.Random(_SEED).sample(ids, min(size, len(ids))))  # noqa: S311  # a sample, no secret
    return {id_: item for id_, item in items.items() if id_ in chosen}


def _is_grade(field: str) -> bool:
    return field.strip().lstrip("-").isdigit()


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's, save for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
