"""A desk over the sample handbook on a loopback port, and a real Chromium that may talk to nothing else."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, Playwright, Request, sync_playwright

from serving.http.app import create_app
from serving.http.listening import open_listener
from tests.desks import sample_desk

CHROMIUM = os.environ.get("REFDESK_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 20_000


@dataclass
class Visit:
    """A page of the desk, and what its browser asked others for."""

    page: Page
    url: str
    strangers: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a path of the desk."""
        self.page.goto(self.url + path)
        return self.page

    def ask(self, question: str) -> Page:
        """Type a question and wait until its answer is finished."""
        self.page.fill("#question", question)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector(".turn.latest .answer[aria-busy=false]", state="attached")
        return self.page

    def view_as(self, user_id: str) -> None:
        """Switch to another user's view, as a person does it."""
        self.page.click("#who-button")
        self.page.wait_for_selector("#view-as option >> nth=1", state="attached")
        with self.page.expect_navigation():
            self.page.select_option("#view-as", user_id)
        self.page.wait_for_selector("#view-as-banner:not([hidden])")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is; without it these tests are skipped, or fail where it has to be there."""
    if not Path(CHROMIUM).exists():
        reason = f"there is no Chromium at {CHROMIUM} (apt-get install chromium)"
        if os.environ.get("REFDESK_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return CHROMIUM


@pytest.fixture(scope="session")
def desk_url(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running desk, on which the sample handbook is indexed."""
    with (
        sample_desk(tmp_path_factory.mktemp("desk")) as embedded,
        open_listener("127.0.0.1") as listener,
        served(create_app(embedded.desk), listener) as url,
    ):
        yield url


@contextmanager
def served(app: FastAPI, listener: socket.socket) -> Iterator[str]:
    """Address of an application that is served on a loopback socket while the block runs."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="uvicorn")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            time.sleep(0.02)
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()


def url_of(listener: socket.socket) -> str:
    """Address of what is served on a loopback socket."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="session")
def api(desk_url: str) -> Iterator[httpx.Client]:
    """The desk's API, as its local owner."""
    with httpx.Client(base_url=f"{desk_url}/api/v1", timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright: Playwright, chromium: str) -> Iterator[Browser]:
    """A running Chromium."""
    browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture
def viewport() -> tuple[int, int]:
    """Width and height of the page; tests of phones override it."""
    return (1280, 800)


@pytest.fixture
def visit(browser: Browser, desk_url: str, viewport: tuple[int, int]) -> Iterator[Visit]:
    """A fresh page. At the end it must have asked nobody else for anything and had no script error."""
    width, height = viewport
    context = browser.new_context(
        viewport={"width": width, "height": height}, permissions=["clipboard-read", "clipboard-write"]
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    found = Visit(page, desk_url)

    def note(request: Request) -> None:
        address = urlsplit(request.url)
        if f"{address.scheme}://{address.netloc}" != desk_url and address.scheme not in ("data", "about"):
            found.strangers.append(request.url)

    context.on("request", note)
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    yield found
    context.close()
    assert not found.strangers, "the page asked others for something"
    assert not found.errors, "a script of the page failed"
