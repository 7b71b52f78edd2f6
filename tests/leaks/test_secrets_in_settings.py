"""Secrets of the settings come from files too, and are shown nowhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from retrieval.settings import InvalidSettingsError, Settings, holds_secret, load_settings
from serving.cli.main import cli
from serving.desk import Desk
from serving.http.app import create_app
from tests.desks import client_of

SECRET = "canarysecret7f3q"
NAMES = [name for name, field in Settings.model_fields.items() if holds_secret(name, field)]


def value_of(name: str) -> str:
    """A secret, or an address with one in it."""
    return f"postgresql+psycopg://desk:{SECRET}@127.0.0.1:9/none" if name.endswith("_url") else SECRET


def plain(settings: Settings, name: str) -> str:
    """A setting as its user gets it."""
    value = getattr(settings, name)
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)


def test_every_key_password_and_secret_is_one() -> None:
    """A setting that is named like a secret is kept like one."""
    named = {
        name for name in Settings.model_fields if name.endswith(("_key", "_secret", "password", "token"))
    }
    assert named
    assert named | {"catalogue_url", "broker_url"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_secrets_are_read_from_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's content counts, without its line end; both at once, or a file that is not there, stop the desk."""
    file = tmp_path / "secret"
    file.write_text(value_of(name) + "\n")
    monkeypatch.setenv(f"REFDESK_{name.upper()}_FILE", str(file))
    assert plain(load_settings(), name) == value_of(name)
    monkeypatch.setenv(f"REFDESK_{name.upper()}", "other")
    with pytest.raises(InvalidSettingsError, match=f"{name}: .* not both") as both:
        load_settings()
    monkeypatch.delenv(f"REFDESK_{name.upper()}")
    file.unlink()
    with pytest.raises(InvalidSettingsError, match=f"{name}: .* cannot be read") as absent:
        load_settings()
    assert SECRET not in str(both.value) + str(absent.value)


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_shows_when_settings_are_written_down(name: str) -> None:
    """Neither in their text nor in the error about a wrong one beside it."""
    settings = load_settings(**{name: value_of(name)})
    assert SECRET not in repr(settings) + str(settings)
    with pytest.raises(InvalidSettingsError) as wrong:
        load_settings(**{name: value_of(name), "port": "none"})
    assert SECRET not in str(wrong.value)


def test_no_secret_shows_in_status(desk: Desk) -> None:
    """What the desk says of itself, to its owner, to probes and to Prometheus."""
    secrets = load_settings(**{name: value_of(name) for name in NAMES})
    changes = {name: getattr(secrets, name) for name in NAMES}
    settings = desk.settings.model_copy(update=changes)
    client = client_of(create_app(replace(desk, settings=settings)))
    for path in (
        "/api/v1/status",
        "/api/v1/whoami",
        "/readyz",
        "/healthz",
        "/metrics",
        "/api/v1/openapi.json",
    ):
        reply = client.get(path)
        assert reply.status_code == 200
        assert SECRET not in reply.text + str(reply.headers)


def test_no_secret_shows_in_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although its catalogue, its model and its rerankers cannot be reached."""
    for name in NAMES:
        monkeypatch.setenv(f"REFDESK_{name.upper()}", value_of(name))
    monkeypatch.setenv("REFDESK_VLLM_URL", "http://127.0.0.1:9/v1")
    result = CliRunner().invoke(cli, ["doctor", "--json", "--data", str(tmp_path / "state")])
    checks = {check["name"]: check["outcome"] for check in json.loads(result.stdout)["checks"]}
    assert checks["catalogue"] == "failed"
    assert SECRET not in result.output + repr(result.exception)
