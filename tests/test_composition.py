"""Composition roots refuse what cannot work, with a clear word."""

from __future__ import annotations

from pathlib import Path

import pytest

import serving.app
import workers.app
from retrieval.errors import IndexUnavailableError
from retrieval.settings import InvalidSettingsError, load_settings
from retrieval.wiring import open_index, require_split

SPLIT = {
    "index_url": "http://127.0.0.1:9",
    "catalogue_url": "postgresql+psycopg://nobody@127.0.0.1:9/none",
    "broker_url": "redis://127.0.0.1:9/0",
}


@pytest.mark.parametrize("missing", list(SPLIT))
def test_split_desk_needs_its_servers(missing: str, tmp_path: Path) -> None:
    """A process of a split desk does not start on an index, catalogue or queue of its own."""
    given = {name: value for name, value in SPLIT.items() if name != missing}
    with pytest.raises(InvalidSettingsError, match=missing):
        require_split(load_settings(data=tmp_path, **given))
    require_split(load_settings(data=tmp_path, **SPLIT))


@pytest.mark.parametrize("root", [serving.app.create, workers.app.main])
def test_roots_of_a_split_desk_check_their_settings(
    root: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started like the embedded desk, they say which setting is missing."""
    monkeypatch.setenv("REFDESK_DATA", str(tmp_path))
    with pytest.raises(InvalidSettingsError, match="index_url"):
        root()  # type: ignore[operator]  # both are called without arguments


def test_index_server_that_is_down_is_a_clear_error(tmp_path: Path) -> None:
    """No answer from the Qdrant server is the retryable error that it is everywhere."""
    with pytest.raises(IndexUnavailableError):
        open_index(load_settings(data=tmp_path, **SPLIT), "index-1", 384)
