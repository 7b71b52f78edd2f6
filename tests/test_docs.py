"""Documents tell the truth: every setting, error code and path in them exists, and none is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ingest.errors
import retrieval.errors
import retrieval.settings
import serving.errors
import workers.retries
from retrieval.errors import RefdeskError
from retrieval.settings import Settings
from serving.http.errors import documented_codes

ROOT = Path(__file__).parent.parent
MODULES = (retrieval.errors, retrieval.settings, ingest.errors, serving.errors, workers.retries)


def _errors() -> Iterator[type[RefdeskError]]:
    """Every error class that has a code of its own."""
    for module in MODULES:
        for thing in vars(module).values():
            if isinstance(thing, type) and issubclass(thing, RefdeskError) and "code" in vars(thing):
                yield thing


def test_every_setting_is_documented_with_its_default() -> None:
    """docs/settings.md has one row per setting, generated from the settings themselves."""
    rows = re.findall(r"^\| `(REFDESK_\w+)` \| (.*?) \| (.*?) \|$", _read("docs/settings.md"), re.MULTILINE)
    assert rows == [
        (f"REFDESK_{name.upper()}", _default(name), field.description)
        for name, field in Settings.model_fields.items()
    ]


def test_every_error_code_is_documented() -> None:
    """docs/errors.md lists each code with whether a retry helps and what to do."""
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \| (.*?) \| (.*?) \|$", _read("docs/errors.md"), re.MULTILINE)
    documented = {code: (retry, hint) for code, retry, _, hint in rows}
    defined = {error.code: ("yes" if error.retryable else "no", error.hint) for error in _errors()}
    assert {code: documented.get(code) for code in defined} == defined
    assert set(documented_codes()) <= set(documented)


def test_error_codes_are_unique() -> None:
    """Two errors never share a code, so that a client can tell them apart."""
    codes = [error.code for error in _errors()]
    duplicates = {code for code in codes if codes.count(code) > 1}
    assert duplicates <= {"internal_error"}


@pytest.mark.parametrize(
    "document", ["ARCHITECTURE.md", "docs/connectors.md", "docs/identity.md", "docs/operations.md"]
)
def test_paths_in_documents_exist(document: str) -> None:
    """A path of this repository that a document names is there."""
    named = re.findall(
        r"`((?:retrieval|ingest|serving|workers|tests|docs|benchmarks|deploy|sample|requirements)/[\w./-]*)`",
        _read(document),
    )
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _default(name: str) -> str:
    value = Settings.model_fields[name].default
    if name == "models":
        return "`<environment>/share/refdesk/models`"
    shown = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    return f"`{shown}`" if shown not in ("", None) else "(empty)"
