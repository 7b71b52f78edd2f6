"""Settings come from several places, the nearest one wins, and a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.settings import InvalidSettingsError, load_settings, read_secret


def test_secrets_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting may lie in a file of its own; the environment wins over it, an argument over both."""
    (tmp_path / "refdesk_index_api_key").write_text("from-file\n")
    (tmp_path / "refdesk_broker_url").write_text("redis://:secret@valkey:6379/0")
    monkeypatch.setenv("REFDESK_SECRETS", str(tmp_path))
    assert load_settings().index_api_key.get_secret_value() == "from-file"
    assert load_settings().broker_url == "redis://:secret@valkey:6379/0"
    monkeypatch.setenv("REFDESK_INDEX_API_KEY", "from-environment")
    assert load_settings().index_api_key.get_secret_value() == "from-environment"
    assert load_settings(index_api_key="given").index_api_key.get_secret_value() == "given"


def test_a_wrong_value_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting, also one from the TOML file."""
    (tmp_path / "desk.toml").write_text("port = 99999\n")
    monkeypatch.setenv("REFDESK_CONFIG", str(tmp_path / "desk.toml"))
    with pytest.raises(InvalidSettingsError, match="port"):
        load_settings()


def test_a_source_cannot_have_the_desks_own_secrets(tmp_path: Path) -> None:
    """A source's secret is read by its name; those of the desk lie beside it and stay there."""
    (tmp_path / "IMAP_PASSWORD").write_text("open sesame\n")
    (tmp_path / "refdesk_index_api_key").write_text("of the desk")
    settings = load_settings(secrets=tmp_path)
    assert read_secret(settings, "IMAP_PASSWORD") == "open sesame"
    for name in ("refdesk_index_api_key", "REFDESK_INDEX_API_KEY", "../secrets/IMAP_PASSWORD", "absent"):
        with pytest.raises(InvalidSettingsError):
            read_secret(settings, name)
