"""The page for everybody: keyboard alone, names of controls, contrast, small screens."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.timeout(600)]

PAGES = ("/", "/search?q=hotel+limit", "/documents", "/search?q=")

NAMELESS = """() => {
  const labelOf = (element) => document.getElementById(element.getAttribute('aria-labelledby'))?.innerText;
  const nameOf = (element) => (element.getAttribute('aria-label') || labelOf(element)
    || [...(element.labels ?? [])].map((label) => label.innerText).join(' ')
    || element.innerText || '').trim();
  const controls = document.querySelectorAll(
    'a[href], button, input, select, textarea, summary, [role=tab], [role=region], progress, dialog[open]');
  return [...controls]
    .filter((element) => element.checkVisibility() && !nameOf(element))
    .map((element) => element.outerHTML.slice(0, 200));
}"""

FOCUS = """() => {
  const element = document.activeElement;
  return element.id || element.className || element.textContent.trim().slice(0, 40);
}"""


def focused(page: Page) -> str:
    return str(page.evaluate(FOCUS))


def test_everything_works_with_the_keyboard_alone(visit: Visit) -> None:
    """Ask, cite, search, narrow and re-index without ever touching the mouse."""
    page = visit.open("/")
    page.wait_for_selector("#recent:not([hidden])")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    assert focused(page) == "question"
    page.keyboard.type("What is the minimum length of a password?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer button.cite")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    expect(page.locator("button.cite").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#passage-text mark").first).to_be_in_viewport()
    expect(page.locator("#passage-title")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#passage")).not_to_be_visible()
    expect(page.locator("button.cite").first).to_be_focused()

    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/search")
    page.wait_for_selector(".blank")
    if focused(page) != "query":
        page.keyboard.press("/")
    page.keyboard.type("hotel limit")
    page.keyboard.press("Enter")
    page.wait_for_selector(".hit")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".hit-title").first).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator(".hit-title").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#passage-text mark").first).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(page.locator(".hit-title").nth(1)).to_be_focused()

    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/documents")
    page.wait_for_selector("tr.row")
    page.keyboard.press("/")
    page.keyboard.type("canteen")
    expect(page.locator("tr.row")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".document-name a")).to_be_focused()
    page.keyboard.press("Tab")
    assert focused(page).startswith("reindex-")
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("Re-indexed", timeout=60_000)
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys-dialog")).not_to_be_visible()


def test_a_preview_says_whose_view_it_is(visit: Visit) -> None:
    """A banner above the hits, as long as they are not one's own, and a way back."""
    page = visit.open("/search?q=hotel+limit")
    page.wait_for_selector(".hit")
    expect(page.locator("#preview-banner")).to_be_hidden()
    page.locator("#preview-part summary").click()
    page.locator("#preview-user").fill("mara.lindqvist")
    page.keyboard.press("Enter")
    banner = page.locator("#preview-banner")
    expect(banner).to_contain_text("what mara.lindqvist would find")
    expect(page.locator(".hit").first).to_be_visible()
    banner.get_by_role("button").click()
    expect(banner).to_be_hidden()
    expect(page.locator(".hit").first).to_be_visible()


def test_tabs_follow_the_aria_pattern(visit: Visit) -> None:
    """Arrow keys move between the tabs and show their panels; only the chosen tab is in the tab order."""
    page = visit.open("/documents?q=canteen")
    page.get_by_role("button", name=re.compile("^Details")).click()
    tabs = page.get_by_role("tab")
    tabs.first.focus()
    page.keyboard.press("ArrowRight")
    expect(tabs.nth(1)).to_be_focused()
    expect(tabs.nth(1)).to_have_attribute("aria-selected", "true")
    expect(tabs.first).to_have_attribute("tabindex", "-1")
    expect(page.get_by_role("tabpanel")).to_contain_text("Version 1")
    page.keyboard.press("End")
    expect(tabs.last).to_be_focused()


@pytest.mark.parametrize("path", PAGES)
def test_every_control_has_a_name(visit: Visit, path: str) -> None:
    """Whatever can be focused tells a screen reader what it is."""
    page = visit.open(path)
    page.wait_for_selector(".hit, tr.row, .blank, #recent:not([hidden])")
    assert page.evaluate(NAMELESS) == []
    page.click("#who-button")
    page.wait_for_selector("#view-as")
    assert page.evaluate(NAMELESS) == []


def test_controls_of_an_answer_have_names(visit: Visit) -> None:
    """So do markers, cards, tabs, actions and the side panel."""
    page = visit.open("/")
    visit.ask("What is the minimum length of a password?")
    page.locator("button.cite").first.click()
    page.wait_for_selector("#passage-text mark")
    assert page.evaluate(NAMELESS) == []
    assert page.locator("h1, h2").count() >= 2
    assert page.get_attribute("html", "lang") == "en"


def test_the_focus_goes_from_top_to_bottom(visit: Visit) -> None:
    """The first stop leaves the frame out, then come the frame's controls, then the page's."""
    page = visit.open("/search?q=hotel+limit")
    page.wait_for_selector(".hit")
    order = []
    for _ in range(12):
        page.keyboard.press("Tab")
        order.append(focused(page))
    assert order[:6] == ["skip", "brand", "Ask", "Search", "Documents", "Sources"]
    assert order[6:10] == ["keys-button", "theme-button", "who-button", "query"]
    page.reload()
    page.wait_for_selector(".hit")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "query"


TEXT_PAIRS = (
    ("ink", "ground"), ("ink", "surface"), ("ink", "sunken"), ("quiet", "ground"), ("quiet", "surface"),
    ("quiet", "sunken"), ("accent", "ground"), ("accent", "surface"), ("accent", "accent-soft"),
    ("on-accent", "accent-ground"), ("on-mark", "mark"), ("good", "good-soft"), ("warn", "warn-soft"),
    ("bad", "bad-soft"), ("busy", "busy-soft"), ("ink", "warn-soft"), ("ink", "bad-soft"),
)  # fmt: skip
EDGE_PAIRS = (
    ("line-strong", "surface"),
    ("line-strong", "ground"),
    ("accent", "ground"),
    ("accent", "surface"),
)

COLOURS = """(names) => {
  const probe = document.body.appendChild(document.createElement('i'));
  const colours = names.map((name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
  });
  probe.remove();
  return colours;
}"""


def luminance(colour: list[float]) -> float:
    channels = [value / 255 for value in colour]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_enough_contrast(visit: Visit, scheme: str) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for text, 3 to 1 for edges and focus rings, in both schemes."""
    page = visit.open("/")
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for pairs, least in ((TEXT_PAIRS, 4.5), (EDGE_PAIRS, 3.0)):
        for pair in pairs:
            first, second = sorted(map(luminance, page.evaluate(COLOURS, list(pair))), reverse=True)
            ratio = (first + 0.05) / (second + 0.05)
            assert ratio >= least, f"{pair} in the {scheme} scheme has {ratio:.2f}"


@pytest.mark.parametrize("viewport", [(360, 740), (768, 1024)])
def test_small_screens_show_everything_without_sideways_scrolling(visit: Visit) -> None:
    """No page is wider than the screen, and on a phone the passage is a dialog of its own."""
    page = visit.page
    for path in PAGES:
        visit.open(path)
        page.wait_for_selector(".hit, tr.row, .blank, #recent:not([hidden])")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    visit.open("/")
    visit.ask("What is the minimum length of a password?")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("button.cite").first.click()
    expect(page.locator("#passage")).to_be_visible()
    assert page.evaluate("document.getElementById('passage').matches(':modal')")
    expect(page.locator("#passage-text mark").first).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(page.locator("#passage")).not_to_be_visible()


def test_the_shell_holds_no_data_and_runs_nothing_inline(desk_url: str) -> None:
    """The HTML is the same for everybody; scripts and styles come from the desk's own files only."""
    client = httpx.Client(base_url=desk_url)
    for path in ("/", "/search", "/documents", "/documents/any-id"):
        shell = client.get(path)
        assert shell.status_code == 200
        assert shell.text == client.get(path, headers={"X-Refdesk-User": "mara.lindqvist"}).text
        policy = shell.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert re.findall(r"<script(?![^>]*\bsrc=)", shell.text) == []
        assert re.findall(r"<style|\sstyle=|\son[a-z]+=", shell.text) == []
        for asset in re.findall(r'(?:src|href)="(/static/[^"#]+)"', shell.text):
            reply = client.get(asset)
            assert reply.status_code == 200
            assert "immutable" in reply.headers["cache-control"]
    assert client.get("/static/x/refdesk.css").headers["cache-control"] == "no-store"
    assert client.get("/static/x/../web.py").status_code == 404
    assert client.get("/static/x/..%2fweb.py").status_code == 404


def test_motion_can_be_switched_off(browser: Browser, desk_url: str) -> None:
    """Whoever asks for less motion gets no transitions."""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(desk_url)
    assert page.evaluate("getComputedStyle(document.getElementById('main')).transitionDuration") == "0s"
    context.close()
