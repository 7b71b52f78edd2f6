"""Search, the list of documents, re-indexing, and seeing the desk as somebody else."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.timeout(600)]

HR_ONLY = "Salary bands"
HR_USER = "mara.lindqvist"
OTHER_USER = "jonas.weidler"


def test_search_marks_the_words_and_narrows_by_facet(visit: Visit) -> None:
    """A facet narrows the hits, stands in the address, and the back button takes it off again."""
    page = visit.open("/search?q=hotel+limit")
    expect(page.locator(".hit mark").first).to_be_visible()
    assert page.locator(".hit mark").first.inner_text().lower() in ("hotel", "limit", "limits", "hotels")
    everything = page.locator(".hit").count()
    page.get_by_role("button", name=re.compile("^Excel")).click()
    expect(page).to_have_url(re.compile("type=application"))
    expect(page.get_by_role("button", name=re.compile("^Excel"))).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".hit").first).to_contain_text("Excel")
    expect(page.locator(".hit", has_text="Word ·")).to_have_count(0)
    page.reload()
    expect(page.locator(".hit").first).to_contain_text("Excel")
    page.go_back()
    expect(page.locator(".hit")).to_have_count(everything)


def test_a_hit_opens_in_its_document(visit: Visit) -> None:
    """The panel shows the passage with the words marked; the next hit is one key away."""
    page = visit.open("/search?q=hotel+limit")
    page.locator(".hit-title").first.click()
    expect(page.locator("#passage-text mark").first).to_be_in_viewport()
    title = page.locator("#passage-title").inner_text()
    page.keyboard.press("j")
    expect(page.locator("#passage-title")).not_to_have_text(title)
    page.keyboard.press("Escape")
    expect(page.locator("#passage")).not_to_be_visible()


def test_finding_nothing_offers_a_way_on(visit: Visit) -> None:
    """Filters that leave nothing can be taken off at once."""
    page = visit.open("/search?q=hotel+limit&tag=no-such-tag")
    expect(page.locator(".blank h2")).to_have_text("Nothing found in what you can read")
    page.get_by_role("button", name="Search without filters").click()
    expect(page.locator(".hit").first).to_be_visible()


def test_a_document_is_reindexed_and_live_again(visit: Visit, api: httpx.Client) -> None:
    """The button shows the job's progress, then the document is live and the job is in its history."""
    page = visit.open("/documents?q=canteen")
    row = page.locator("tr.row").first
    expect(row.locator(".badge")).to_have_text("Live")
    with page.expect_response(re.compile("/reindex$")) as asked:
        row.get_by_role("button", name=re.compile("^Re-index")).click()
    assert asked.value.status == 202
    expect(row.locator(".badge")).to_have_class(re.compile("busy"))
    expect(row.get_by_role("button", name=re.compile("^Re-index"))).to_be_disabled()
    expect(page.locator("#toast")).to_contain_text("Re-indexed", timeout=60_000)
    expect(row.locator(".badge")).to_have_text("Live")
    expect(row.get_by_role("button", name=re.compile("^Re-index"))).to_be_enabled()
    assert api.get("/documents", params={"q": "canteen"}).json()["documents"][0]["state"] == "live"
    row.get_by_role("button", name=re.compile("^Details")).click()
    page.get_by_role("tab", name="History").click()
    expect(page.locator(".timeline li", has_text="Indexing").first).to_contain_text("Done")


def test_documents_are_filtered_by_text_and_state(visit: Visit) -> None:
    """What is typed narrows the list and its counts; the address can be shared."""
    page = visit.open("/documents")
    expect(page.locator("tr.row").nth(10)).to_be_visible()
    page.fill("#filter-text", "travel-policy")
    expect(page.locator("tr.row")).to_have_count(2)
    expect(page.locator("tr.row", has_text="2023").locator(".badge.warn")).to_have_text("Superseded")
    expect(page).to_have_url(re.compile("q=travel-policy"))
    page.locator("#chip-live").click()
    expect(page).to_have_url(re.compile("state=live"))
    expect(page.locator("tr.row")).to_have_count(2)


def test_another_user_s_view_shows_only_what_that_user_may_read(visit: Visit, api: httpx.Client) -> None:
    """Somebody outside HR finds no trace of an HR document: not in lists, search, answers or by address."""
    listed = api.get("/documents", params={"q": "salary-bands"}, headers={"X-Refdesk-User": HR_USER}).json()
    hidden = listed["documents"][0]
    visit.open("/documents?q=salary-bands")
    visit.view_as(HR_USER)
    page = visit.page
    expect(page.locator("tr.row")).to_have_count(1)
    page.goto(f"{visit.url}/documents/{hidden['id']}")
    expect(page.locator("#viewer-head h1")).to_contain_text(hidden["title"])

    visit.view_as(OTHER_USER)
    expect(page.locator(".blank h2")).to_have_text("Nothing here that you may read")
    assert hidden["title"] not in page.content()
    visit.open("/documents?q=salary-bands")
    expect(page.locator(".blank h2")).to_have_text("No document matches")
    visit.open("/search?q=salary+bands+2025")
    expect(page.locator(".hit").first).to_be_visible()
    assert hidden["title"] not in page.content()
    visit.open("/")
    visit.ask("Which salary band does a senior engineer belong to?")
    assert hidden["title"] not in page.content()
    expect(page.locator("#view-as-banner")).to_contain_text("Jonas Weidler")
    with page.expect_navigation():
        page.get_by_role("button", name="Back to myself").click()
    expect(page.locator("#view-as-banner")).to_be_hidden()


def test_only_owners_can_reindex(visit: Visit) -> None:
    """A reader sees the button of a document that is not theirs, but cannot press it."""
    visit.open("/documents?q=canteen")
    visit.view_as(OTHER_USER)
    expect(visit.page.get_by_role("button", name=re.compile("^Re-index"))).to_be_disabled()


def test_who_i_am_may_be_opened_before_it_is_known(visit: Visit) -> None:
    """The panel offers everything even when its button is pressed before the desk said who is asking."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    visit.page.route("**/api/v1/whoami", hold)
    visit.open("/documents")
    visit.page.click("#who-button")
    expect(visit.page.locator("#view-as")).to_have_count(0)
    held.pop().continue_()
    expect(visit.page.locator("#view-as option").nth(1)).to_be_attached()


HOSTILE_TITLE = "<script>window.pwned=1</script><img src=//canary.invalid/t.png> \u202etxt.exe"
HOSTILE_TEXT = (
    "# <img src=//canary.invalid/h.png onerror=window.pwned=1>\n\n"
    "Zorblatt regulations: ![pixel](https://canary.invalid/p.png) <script>window.pwned=1</script> "
    "<iframe src=https://canary.invalid/f></iframe> [click](javascript:window.pwned=1)\n\n"
    "<a href=https://canary.invalid/a>a</a> zero\u200bwidth \u202ereversed\u202c"
)


@pytest.fixture(scope="module")
def hostile_document(api: httpx.Client) -> Iterator[str]:
    """Id of a document that tries everything, pushed through the API and indexed."""
    source = api.post("/sources", json={"id": "pushed", "name": "Pushed", "kind": "push"})
    assert source.status_code in (200, 201, 409), source.text
    body = {
        "source_id": "pushed", "external_id": "<b>hostile</b>.txt", "title": HOSTILE_TITLE,
        "text": HOSTILE_TEXT, "acl": {"allow": ["everyone"]}, "metadata": {"tags": ["<i>tag</i>"]},
    }  # fmt: skip
    accepted = api.put("/documents", json=body).raise_for_status().json()
    ends_at = time.monotonic() + 60
    while (job := api.get(f"/jobs/{accepted['job']['id']}").json())["state"] != "done":
        assert job["state"] != "failed", job
        assert time.monotonic() < ends_at, job
        time.sleep(0.1)
    yield accepted["document_id"]
    api.delete(f"/documents/{accepted['document_id']}")


def test_a_hostile_document_is_inert_everywhere(visit: Visit, hostile_document: str) -> None:
    """Title, path, tags and text are shown as text in every view; nothing runs, nothing is loaded."""
    page = visit.open(f"/documents/{hostile_document}")
    expect(page.locator("#text")).to_contain_text("Zorblatt regulations")
    expect(page.locator("#text")).to_contain_text("<script>window.pwned=1</script>")
    expect(page.locator("#viewer-head h1")).to_contain_text("<script>window.pwned=1</script>")
    _assert_inert(visit)
    visit.open("/documents?q=hostile")
    expect(page.locator("tr.row")).to_have_count(1)
    page.get_by_role("button", name=re.compile("^Details")).click()
    expect(page.locator(".fact-grid")).to_contain_text("<i>tag</i>")
    _assert_inert(visit)
    visit.open("/search?q=zorblatt+regulations")
    expect(page.locator(".hit").first).to_contain_text("Zorblatt")
    page.locator(".hit-title").first.click()
    expect(page.locator("#passage-text")).to_contain_text("Zorblatt")
    _assert_inert(visit)
    visit.open("/")
    visit.ask("What do the Zorblatt regulations say?")
    _assert_inert(visit)


def _assert_inert(visit: Visit) -> None:
    page = visit.page
    assert page.evaluate("window.pwned") is None
    assert page.locator("main :is(img, iframe, script, object, embed, video, audio, style)").count() == 0
    assert page.locator("#passage :is(img, iframe, script)").count() == 0
    foreign = page.eval_on_selector_all(
        "a[href]",
        "links => links.map(link => link.href).filter(href => !href.startsWith(location.origin + '/'))",
    )
    assert foreign == []
    words = page.evaluate("document.body.innerText")
    assert not set(words) & set("\u200b\u202e\u202c\u2066\u2069")


def test_a_source_is_looked_at_paused_and_synced(visit: Visit, api: httpx.Client) -> None:
    """What would change is named, a pause shows and says what helps, and a sync is in the list of runs."""
    folder = next(source for source in api.get("/sources").json()["sources"] if source["kind"] == "folder")
    page = visit.open("/sources")
    card = page.get_by_role("region", name=folder["name"], exact=True)
    card.get_by_role("button", name=re.compile("^What would change")).click()
    expect(card).to_contain_text("Nothing would change", timeout=60_000)
    card.get_by_role("button", name=re.compile("^Pause")).click()
    expect(card.locator(".badge", has_text="Paused")).to_be_visible()
    expect(card).to_contain_text("What helps: Let it go on")
    expect(card.get_by_role("button", name=re.compile("^Sync now"))).to_be_disabled()
    card.get_by_role("button", name=re.compile("^Resume")).click()
    expect(card.locator(".badge", has_text="Paused")).to_have_count(0)
    card.get_by_role("button", name=re.compile("^Sync now")).click()
    expect(page.locator("#toast")).to_contain_text("unchanged", timeout=60_000)
    card.get_by_role("button", name=re.compile("^Runs")).click()
    expect(card.locator(".timeline li").first).to_contain_text("asked by local")
    assert api.get(f"/sources/{folder['id']}").json()["paused_at"] is None


def test_a_folder_of_a_source_is_read_again(visit: Visit, api: httpx.Client) -> None:
    """The page asks for the folder in a window of its own; Enter sends it, Escape calls it off."""
    folder = next(source for source in api.get("/sources").json()["sources"] if source["kind"] == "folder")
    page = visit.open("/sources")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.get_by_role("button", name=f"Re-index: {folder['name']}").click()
    window = page.get_by_role("dialog", name=f"Re-index {folder['name']}")
    expect(window.get_by_label("Folder")).to_be_focused()
    page.keyboard.press("Escape")
    expect(window).to_be_hidden()
    assert asked == []
    page.get_by_role("button", name=f"Re-index: {folder['name']}").click()
    with page.expect_response("**/reindex") as response:
        page.keyboard.type("legal")
        page.keyboard.press("Enter")
    legal = api.get("/documents", params={"source": folder["id"], "path": "legal/", "limit": 200}).json()[
        "documents"
    ]
    assert response.value.json()["queued"] == len(legal) > 0
    expect(page.locator("#toast")).to_contain_text(f"{len(legal)} queued", timeout=60_000)
