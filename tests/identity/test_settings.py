"""Settings under which anybody could come in unseen do not start a desk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import serving.app
from retrieval.access import UserId
from retrieval.adapters.sql.directory import Standing
from retrieval.settings import InvalidSettingsError, load_settings
from serving.cli.main import cli
from serving.desk import Desk
from serving.http.app import create_app
from serving.identity import check_identity, identity_of_proxy, principal_of, rights_of
from serving.scopes import Scope

OIDC = {
    "identity": "oidc",
    "oidc_issuer": "https://login.example.org",
    "oidc_client_id": "refdesk",
    "public_url": "https://desk.example.org",
}
PROXY = {"identity": "proxy", "proxy_addresses": "10.0.0.1"}


@pytest.mark.parametrize(
    ("given", "setting"),
    [
        ({**PROXY, "proxy_addresses": ""}, "proxy_addresses"),
        ({**PROXY, "proxy_addresses": " , "}, "proxy_addresses"),
        ({**PROXY, "proxy_addresses": "proxy.example.org"}, "proxy_addresses"),
        ({**PROXY, "proxy_addresses": "10.0.0.1/8"}, "proxy_addresses"),
        ({**PROXY, "proxy_addresses": "0.0.0.0/0"}, "proxy_addresses"),
        ({**PROXY, "proxy_addresses": "10.0.0.1, ::/0"}, "proxy_addresses"),
        ({**PROXY, "proxy_user_header": ""}, "proxy_user_header"),
        ({**PROXY, "proxy_user_header": "X User"}, "proxy_user_header"),
        ({**PROXY, "proxy_user_header": "Host"}, "proxy_user_header"),
        ({**PROXY, "proxy_user_header": "x-refdesk-user"}, "proxy_user_header"),
        ({**PROXY, "proxy_groups_header": "X:Groups"}, "proxy_groups_header"),
        ({**OIDC, "oidc_issuer": ""}, "oidc_issuer"),
        ({**OIDC, "oidc_issuer": "http://login.example.org"}, "oidc_issuer"),
        ({**OIDC, "oidc_issuer": "https://user:secret@login.example.org"}, "oidc_issuer"),
        ({**OIDC, "oidc_client_id": ""}, "oidc_client_id"),
        ({**OIDC, "public_url": ""}, "public_url"),
        ({**OIDC, "public_url": "http://desk.example.org"}, "public_url"),
        ({**OIDC, "public_url": "https://desk.example.org/desk"}, "public_url"),
        ({**OIDC, "public_url": "https://Desk.example.org"}, "public_url"),
        ({**OIDC, "public_url": "https://desk.example.org:443"}, "public_url"),
        ({**OIDC, "oidc_algorithms": "RS256,HS256"}, "oidc_algorithms"),
        ({**OIDC, "oidc_algorithms": "none"}, "oidc_algorithms"),
        ({**OIDC, "oidc_algorithms": ""}, "oidc_algorithms"),
        ({**OIDC, "oidc_audience": "refdesk"}, "oidc_audience"),
        ({**OIDC, "oidc_audience": "api", "oidc_token_types": ""}, "oidc_token_types"),
        ({**OIDC, "oidc_scopes": "profile"}, "oidc_scopes"),
        ({"user_scopes": "search,admin"}, "user_scopes"),
        ({"user_scopes": "act-as"}, "user_scopes"),
        ({"user_scopes": "everything"}, "user_scopes"),
        ({"admin_groups": "it"}, "admin_groups"),
        ({"admin_groups": "user:mara"}, "admin_groups"),
        ({"admin_groups": "group:everyone"}, "admin_groups"),
        ({"audit_groups": "group:everyone"}, "audit_groups"),
        ({"user_scopes": "search,audit:read"}, "user_scopes"),
    ],
    ids=str,
)
def test_unsafe_settings_are_refused(
    tmp_path: Path, empty_desk: Desk, given: dict[str, Any], setting: str
) -> None:
    """With the name of the setting, by every way to start."""
    settings = load_settings(data=tmp_path, **{"identity": "keys", **given})
    with pytest.raises(InvalidSettingsError, match=setting):
        check_identity(settings)
    with pytest.raises(InvalidSettingsError, match=setting):
        create_app(replace(empty_desk, settings=settings))


@pytest.mark.parametrize("given", [OIDC, {**OIDC, "public_url": "http://[::1]:8080/"}, PROXY], ids=str)
def test_safe_settings_are_fine(tmp_path: Path, given: dict[str, Any]) -> None:
    """Loopback may be plain http."""
    check_identity(load_settings(data=tmp_path, **given))


def test_a_provider_name_is_plain(tmp_path: Path) -> None:
    """It becomes part of ids."""
    for name in ("", "a:b", "a/b", "A", "-a", "a" * 40):
        with pytest.raises(InvalidSettingsError, match="oidc_name"):
            load_settings(data=tmp_path, oidc_name=name)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "desk.example.org", "127.0.0.1.example.org"])
def test_without_login_a_desk_listens_on_this_machine_only(tmp_path: Path, host: str) -> None:
    """Anything but loopback is refused before a port is opened."""
    result = CliRunner().invoke(cli, ["up", "--data", str(tmp_path / "state"), "--host", host])
    assert result.exit_code == 2
    assert "must not listen on" in result.stderr
    assert not (tmp_path / "state").exists()


def test_a_split_desk_has_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its query service cannot know on which address it is served."""
    for name, value in {
        "DATA": str(tmp_path),
        "INDEX_URL": "http://127.0.0.1:9",
        "CATALOGUE_URL": "postgresql+psycopg://nobody@127.0.0.1:9/none",
        "BROKER_URL": "redis://127.0.0.1:9/0",
    }.items():
        monkeypatch.setenv(f"REFDESK_{name}", value)
    with pytest.raises(InvalidSettingsError, match="identity"):
        serving.app.create()


@pytest.mark.parametrize(
    ("groups", "reads_trail", "is_admin"),
    [("audit", True, False), ("it", False, True), ("audit,it", True, True), ("hr", False, False)],
)
def test_auditors_need_be_no_administrators(
    tmp_path: Path, groups: str, reads_trail: bool, is_admin: bool
) -> None:
    """Each right comes with a group of its own; a token that is limited to less gets less."""
    settings = load_settings(
        data=tmp_path, **PROXY, admin_groups="group:proxy/it", audit_groups="group:proxy/audit"
    )
    identity, standing = identity_of_proxy("mara", groups), Standing(UserId("mara"), False, False)
    scopes = principal_of(identity, standing, rights_of(settings)).scopes
    assert (Scope.AUDIT_READ in scopes, Scope.ADMIN in scopes) == (reads_trail, is_admin)
    assert Scope.SEARCH in scopes
    limited = replace(identity, scopes=frozenset({"search"}))
    assert principal_of(limited, standing, rights_of(settings)).scopes == {"search"}
