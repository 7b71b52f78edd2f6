"""compose.yaml is valid, and keeps the promises that operators rely on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROFILES = ("scale", "gpu")
OURS = [name for name, service in SERVICES.items() if "build" in service]


def test_compose_file_is_accepted() -> None:
    """The tool that reads the file takes it, with every profile; docker's own where this machine has it."""
    docker = _has_docker_compose()
    tool = ["docker", "compose"] if docker else [str(Path(sys.executable).parent / "podman-compose")]
    profiles = [part for profile in PROFILES for part in ("--profile", profile)]
    dry = [] if docker else ["--dry-run"]
    command = [*tool, *dry, "--file", str(ROOT / "compose.yaml"), *profiles, "config"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert set(yaml.safe_load(shown.stdout)["services"]) == set(SERVICES)


def test_only_the_query_service_is_reachable_from_outside() -> None:
    """No server behind the desk publishes a port: index, catalogue, broker and model are for the desk alone."""
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"desk", "api"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_limits_and_restarts(name: str) -> None:
    """A service can neither take the whole machine nor stay down; what it keeps is in a named volume."""
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    resources = service["deploy"]["resources"]
    assert "memory" in resources["limits"], "no memory limit"
    named = [
        volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith(("$", "."))
    ]
    assert set(named) <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_says_whether_it_works(name: str) -> None:
    """Each has a health check, and nothing starts before what it needs is healthy."""
    service = SERVICES[name]
    assert "test" in service["healthcheck"]
    for needed, how in service.get("depends_on", {}).items():
        assert how["condition"] == "service_healthy", needed


@pytest.mark.parametrize("name", OURS)
def test_our_containers_hold_no_privilege(name: str) -> None:
    """Read-only root, no capability, no new privilege, and not root."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "USER refdesk" in (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")


def test_secrets_come_from_files() -> None:
    """No password, key or token stands in the file; each secret is a file of the operator's."""
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if any(word in variable for word in ("PASSWORD", "SECRET", "TOKEN", "API_KEY")):
                assert str(value).startswith("/run/secrets"), f"{name}: {variable}"


def test_one_command_makes_every_secret(tmp_path: Path) -> None:
    """deploy/make_secrets.sh writes all that is mounted, for the operator alone, and changes nothing twice."""
    script = Path(shutil.copy(ROOT / "deploy" / "make_secrets.sh", tmp_path))
    runs = []
    for _ in range(2):
        subprocess.run(["bash", str(script)], check=True, capture_output=True, timeout=60)
        runs.append({file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()})
    assert runs[0] == runs[1]
    assert set(runs[0]) == {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert runs[0]["postgres_password"] in runs[0]["refdesk_catalogue_url"]
    assert runs[0]["refdesk_index_api_key"] in runs[0]["qdrant.yaml"]
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0


def test_images_are_pinned_and_the_api_carries_no_parser() -> None:
    """Images have versions, and the query service's own is built without what reads untrusted files."""
    for service in SERVICES.values():
        assert ":" in service["image"]
        assert not service["image"].endswith(":latest")
    assert SERVICES["api"]["build"]["target"] == "api"
    locked = (ROOT / "requirements" / "api.lock").read_text(encoding="utf-8")
    names = {line.split("==")[0] for line in locked.splitlines() if "==" in line}
    assert names.isdisjoint({"torch", "unstructured", "lxml", "pypdfium2", "celery", "sentence-transformers"})


def _has_docker_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    asked = ["docker", "compose", "version", "--format", "json"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    return answer.returncode == 0 and "version" in json.loads(answer.stdout)
