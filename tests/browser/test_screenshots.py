"""Pictures of the main views. `REFDESK_RECORD_IMAGES=1` puts them into docs/images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.browser.conftest import Visit
from tests.desks import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.timeout(600)]

LARGEST_BYTES = 250_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the pictures go."""
    return ROOT / "docs" / "images" if os.environ.get("REFDESK_RECORD_IMAGES") == "1" else tmp_path


def test_the_main_views_can_be_pictured(visit: Visit, folder: Path) -> None:
    """Ask with an open citation, search, documents: each is there and small enough for the README."""
    page = visit.open("/")
    visit.ask("What has to be done before the trip when I travel outside Europe?")
    page.locator("button.cite").first.click()
    page.wait_for_selector("#passage-text mark")
    _take(visit, folder / "ask.png")
    visit.open("/search?q=hotel+limit")
    page.wait_for_selector(".hit")
    _take(visit, folder / "search.png")
    visit.open("/documents")
    page.wait_for_selector("tr.row")
    page.get_by_role("button", name="Details of Calibration procedure Litra LT-510").click()
    page.get_by_role("tab", name="Versions").click()
    page.wait_for_selector(".timeline li")
    _take(visit, folder / "documents.png")


def _take(visit: Visit, path: Path) -> None:
    visit.page.mouse.move(2, 790)
    visit.page.wait_for_timeout(400)
    picture = visit.page.screenshot(path=path)
    assert 10_000 < len(picture) < LARGEST_BYTES
