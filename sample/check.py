"""Check that the sample handbook and its quality sets are sound: `python sample/check.py`.

The texts are read back with simple means that share no code with the product.
With `--bytes` the handbook is also compared with what the generator writes now.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handbook_readers import claimed_type_problem, text_of

HERE = Path(__file__).resolve().parent
HANDBOOK = HERE / "handbook"
QUALITY = HERE / "quality"
ACL_FILE = ".refdesk.toml"
FORMATS = {
    "csv", "docx", "eml", "epub", "html", "md", "msg", "odt", "pdf", "pptx", "rtf", "txt", "xlsx",
}  # fmt: skip
KINDS = {"fact", "table", "paraphrase", "multi", "superseded", "restricted", "identifier", "language"}
FIELDS = {"_id", "text", "answers", "documents", "as_user", "unanswerable", "kind"}
DOCUMENTS = range(48, 56)
SETS = {"questions": "q", "hard": "h"}  # the files and how their ids begin
QUESTIONS, UNANSWERABLE, RESTRICTED = 60, 10, 6
FEWEST_EXPECTED = 40  # different documents expected by each set
LONG_PDF, LONG_PDF_PAGES = "company/quality-manual.pdf", 60
LARGEST_TOTAL = 1_500_000


@dataclass(frozen=True)
class Sample:
    """Everything the checks look at; texts are normalised, by path below `sample/handbook`."""

    texts: dict[str, str]
    sets: dict[str, list[dict[str, Any]]]
    groups: dict[str, set[str]]
    soundness: dict[str, Any]


def normalised(text: str) -> str:
    """The text in lower case with single spaces."""
    return re.sub(r"\s+", " ", text).strip().casefold()


def documents() -> dict[str, Path]:
    """Each document of the handbook by its external id."""
    paths = sorted(path for path in HANDBOOK.rglob("*") if path.is_file() and path.name != ACL_FILE)
    return {path.relative_to(HANDBOOK).as_posix(): path for path in paths}


def questions_of(name: str) -> list[dict[str, Any]]:
    """The questions of one set."""
    lines = (QUALITY / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def load() -> Sample:
    """Read the whole sample."""
    users = tomllib.loads((HERE / "directory.toml").read_text("utf-8"))["users"]
    return Sample(
        texts={name: normalised(text_of(path)) for name, path in documents().items()},
        sets={name: questions_of(name) for name in SETS},
        groups={user: set(entry["groups"]) for user, entry in users.items()},
        soundness=tomllib.loads((QUALITY / "soundness.toml").read_text("utf-8")),
    )


def may_read(sample: Sample, user: str, document: str) -> bool:
    """Whether the nearest access file lets the user read the document."""
    folder = (HANDBOOK / document).parent
    while not (folder / ACL_FILE).exists():
        folder = folder.parent
    acl = tomllib.loads((folder / ACL_FILE).read_text("utf-8"))["acl"]
    principals = {f"user:{user}"} | {f"group:{group}" for group in sample.groups[user]}
    return bool(principals & set(acl["allow"])) and not principals & set(acl["deny"])


def file_problems() -> Iterator[str]:
    """Say what is wrong with the files themselves."""
    files = documents()
    if len(files) not in DOCUMENTS:
        yield f"{len(files)} documents"
    missing = FORMATS - {path.suffix[1:] for path in files.values()}
    if missing:
        yield f"no document in {sorted(missing)}"
    total = sum(path.stat().st_size for path in HANDBOOK.rglob("*") if path.is_file())
    if total > LARGEST_TOTAL:
        yield f"the handbook has {total} bytes"
    for name, path in files.items():
        problem = claimed_type_problem(path)
        if problem:
            yield f"{name}: {problem}"


def length_problems() -> Iterator[str]:
    """Say whether the long PDF is long enough."""
    pages = text_of(HANDBOOK / LONG_PDF).count("\f")
    if pages < LONG_PDF_PAGES:
        yield f"{LONG_PDF} has {pages} pages"


def set_problems(questions: list[dict[str, Any]], letter: str) -> Iterator[str]:
    """Say what is wrong with one question set as a whole."""
    if [question["_id"] for question in questions] != [f"{letter}{n:02}" for n in range(1, QUESTIONS + 1)]:
        yield f"the ids are not {letter}01 to {letter}{QUESTIONS}"
    counts = (
        ("unanswerable", sum(question["unanswerable"] for question in questions), UNANSWERABLE),
        ("restricted", sum(question["kind"] == "restricted" for question in questions), RESTRICTED),
    )
    for name, count, wanted in counts:
        if count != wanted:
            yield f"{count} {name}, {wanted} wanted"
    expected = {document for question in questions for document in question["documents"]}
    if len(expected) < FEWEST_EXPECTED:
        yield f"{len(expected)} documents expected, {FEWEST_EXPECTED} wanted"
    missing = FORMATS - {Path(document).suffix[1:] for document in expected}
    if missing:
        yield f"no document expected in {sorted(missing)}"


def common_problems(sample: Sample) -> Iterator[str]:
    """Say what is wrong with the sets taken together."""
    questions = [question for one in sample.sets.values() for question in one]
    for text, count in Counter(normalised(question["text"]) for question in questions).items():
        if count > 1:
            yield f"asked {count} times: {text}"
    unanswerable = {question["_id"] for question in questions if question["unanswerable"]}
    if unanswerable != set(sample.soundness["absent_terms"]):
        yield "absent_terms and the unanswerable questions differ"


def question_problems(sample: Sample, question: dict[str, Any]) -> Iterator[str]:
    """Say what is wrong with one question."""
    if set(question) != FIELDS or question["kind"] not in KINDS:
        yield "wrong fields or kind"
    if question["as_user"] not in sample.groups:
        yield f"{question['as_user']} is not in the directory"
        return
    if question["unanswerable"] != (not question["documents"]):
        yield "documents and unanswerable disagree"
    for document in question["documents"]:
        if document not in sample.texts:
            yield f"no document {document}"
        elif not may_read(sample, question["as_user"], document):
            yield f"{question['as_user']} may not read {document}"
    yield from answer_problems(sample, question)


def answer_problems(sample: Sample, question: dict[str, Any]) -> Iterator[str]:
    """Say which accepted answers stand in no expected document, and which document holds none."""
    texts = {name: sample.texts.get(name, "") for name in question["documents"]}
    answers = [normalised(answer) for answer in question["answers"]]
    whole = [re.compile(rf"(?<!\w){re.escape(answer)}(?!\w)") for answer in answers]
    for answer, pattern in zip(question["answers"], whole, strict=True):
        if not any(pattern.search(text) for text in texts.values()):
            yield f"{answer!r} stands in none of {question['documents']}"
        if normalised(answer) in normalised(question["text"]):
            yield f"the question gives {answer!r} away"
    for name, text in texts.items():
        if not any(pattern.search(text) for pattern in whole):
            yield f"{name} holds no accepted answer"


def word_problems(sample: Sample) -> Iterator[str]:
    """Say which restricted words stand elsewhere, and which absent terms are present."""
    for folder, words in sample.soundness["restricted_words"].items():
        for word in words:
            holders = [name for name, text in sample.texts.items() if normalised(word) in text]
            if not holders or any(not name.startswith(f"{folder}/") for name in holders):
                yield f"restricted word {word!r} stands in {holders}"
    for number, terms in sample.soundness["absent_terms"].items():
        for term in terms:
            holders = [name for name, text in sample.texts.items() if normalised(term) in text]
            if holders:
                yield f"{number}: {term!r} stands in {holders}"


def byte_problems() -> Iterator[str]:
    """Say which files differ from what the generator writes."""
    from make_handbook import generated

    wanted = dict(generated())
    present = {path.relative_to(HANDBOOK).as_posix() for path in HANDBOOK.rglob("*") if path.is_file()}
    for name in sorted(present ^ set(wanted)):
        yield f"{name} is on one side only"
    for name in sorted(present & set(wanted)):
        if (HANDBOOK / name).read_bytes() != wanted[name]:
            yield f"{name} is not what the generator writes"


def problems(sample: Sample) -> Iterator[str]:
    """Every problem of what the files hold, one line each."""
    yield from length_problems()
    for name, questions in sample.sets.items():
        yield from (f"{name}: {problem}" for problem in set_problems(questions, SETS[name]))
        for question in questions:
            yield from (f"{question['_id']}: {problem}" for problem in question_problems(sample, question))
    yield from common_problems(sample)
    yield from word_problems(sample)


def report(found: list[str]) -> int:
    """Print the problems, and give the exit status for them."""
    for problem in found:
        print("problem:", problem)
    print(f"{len(found)} problems")
    return 1 if found else 0


def main(arguments: list[str]) -> int:
    """Check the files first, then what is in them; the exit status is 1 if there are problems."""
    found = list(file_problems())
    if found:
        return report(found)
    sample = load()
    found = [*problems(sample), *(byte_problems() if "--bytes" in arguments else ())]
    formats = Counter(Path(name).suffix[1:] for name in sample.texts)
    print(f"{len(sample.texts)} documents:", ", ".join(f"{n} {kind}" for kind, n in sorted(formats.items())))
    for name, questions in sample.sets.items():
        kinds = Counter(question["kind"] for question in questions if not question["unanswerable"])
        print(f"answerable in {name}:", ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())))
    return report(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
