"""Progress of long tests."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Shows a line at once, with the time since the test began, whatever is captured."""
    began = time.monotonic()

    def show(line: str) -> None:
        with capfd.disabled():
            print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    return show
