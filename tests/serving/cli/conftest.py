"""A tiny desk that runs for the whole session, and the `refdesk` command as people call it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from retrieval.settings import load_settings
from serving.cli.main import cli
from serving.cli.running import announced
from serving.cli.up import _answering, _url_of
from serving.embedded import open_embedded, request_docs_sync
from serving.http.app import create_app
from serving.http.listening import open_listener
from tests.desks import wait_until_idle

Refdesk = Callable[..., Result]

_RULES = '[acl]\nallow = ["group:everyone"]\n'
_DOCUMENTS = {
    "travel.md": "# Travel\n\n## Hotels\n\nHotel rooms may cost up to 140 euros a night.\n",
    "leave.txt": "Annual leave: every employee gets 28 days of annual leave.\n",
    "bad.pdf": "%PDF-1.4 broken",
}


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two documents that everyone reads, one that only the owner reads, and a broken one."""
    folder = tmp_path_factory.mktemp("handbook")
    for name, text in _DOCUMENTS.items():
        (folder / name).write_text(text)
    (folder / ".refdesk.toml").write_text(_RULES)
    (folder / "secret").mkdir()
    (folder / "secret" / "salaries.txt").write_text("The salary of the chief executive is 90210 euros.\n")
    (folder / "secret" / ".refdesk.toml").write_text('owner = "local"\n')
    return folder


@pytest.fixture(scope="session")
def data(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """State folder of a desk that runs, with `documents` indexed."""
    folder = tmp_path_factory.mktemp("desk") / "state"
    settings = load_settings(data=folder, docs=documents, port=0)
    with open_embedded(settings) as embedded, open_listener("127.0.0.1") as listener:
        request_docs_sync(settings, embedded.desk)
        wait_until_idle(embedded.desk)
        with (
            _answering(create_app(embedded.desk), listener, settings),
            announced(folder, _url_of(listener)),
        ):
            yield folder


@pytest.fixture
def refdesk(monkeypatch: pytest.MonkeyPatch, data: Path) -> Refdesk:
    """Runs a command line against the running desk, unless it names another folder."""
    for name in ("REFDESK_URL", "REFDESK_API_KEY", "REFDESK_DOCS", "REFDESK_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REFDESK_DATA", str(data))

    def run(*args: object) -> Result:
        return CliRunner().invoke(cli, [str(arg) for arg in args])

    return run


@pytest.fixture
def refdesk_json(refdesk: Refdesk) -> Callable[..., Any]:
    """Runs a command with `--json`; returns what standard output held, which has to be one JSON document."""

    def run(*args: object) -> Any:
        result = refdesk(*args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run
