"""Fixtures of the `vllm` tier: one real server for the session, and throw-away ones to kill."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.vllm.vllm_process import VllmServer, environment_python, running_vllm


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The interpreter of `.venv-vllm`; without it the tier is skipped, or fails where it is required."""
    python = environment_python()
    if python is None:
        reason = "no .venv-vllm: run tests/vllm/setup_vllm.sh"
        if os.environ.get("REFDESK_REQUIRE_VLLM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return python


@pytest.fixture(scope="session")
def vllm_server(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """The server that all tests share; do not kill this one."""
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with running_vllm(vllm_python, log) as server:
        yield server


@pytest.fixture
def start_vllm(vllm_python: Path, tmp_path: Path) -> Iterator[Callable[[], VllmServer]]:
    """Starts a further server, to be killed at will; each takes as long as the first."""
    numbers = itertools.count()
    with ExitStack() as servers:
        yield lambda: servers.enter_context(running_vllm(vllm_python, tmp_path / f"{next(numbers)}.log"))
