"""Asking: streamed answers, citations in their documents, honest failures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.timeout(600)]

PASSWORD = "What is the minimum length of a password?"


def event(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def reference(**changes: Any) -> dict[str, Any]:
    return {
        "document_id": "d1", "chunk_id": "c1", "source_id": "docs", "external_id": "a.md", "title": "A title",
        "url": "", "heading_path": [], "page": None, "score": 1.0, "text": "Some words.", "highlights": [],
        "version": 1, "modified_at": "2025-01-06T00:00:00Z", "media_type": "text/markdown",
        "superseded_by": None,
        **changes,
    }  # fmt: skip


def answer(**changes: Any) -> dict[str, Any]:
    return {
        "answer": "Some words. [1]", "abstained": False, "conflicts": [], "references": [reference()],
        "citations": [{
            "marker": 1, "document_id": "d1", "chunk_id": "c1", "title": "A title", "url": "", "page": None,
            "heading_path": [], "quote": "Some words.", "start": 0, "end": 11, "support": 1.0,
        }],
        "activity": [], "model": {"name": "extracts", "revision": "1", "generator": "extractive"},
        "request_id": "r1", "conversation_id": "k1", "usage": {}, "fallback_reason": "", "ai_generated": True,
        **changes,
    }  # fmt: skip


def scripted(visit: Visit, *events: str) -> None:
    """Let the desk's next answers be these events."""

    def fulfil(route: Route) -> None:
        route.fulfill(content_type="text/event-stream", body="".join(events))

    visit.page.route("**/api/v1/answers", fulfil)


def test_an_answer_is_streamed_with_citations(visit: Visit) -> None:
    """The answer comes as an event stream, and each of its markers is a button that names its source."""
    page = visit.open("/")
    with page.expect_response("**/api/v1/answers") as streamed:
        visit.ask(PASSWORD)
    assert streamed.value.headers["content-type"].startswith("text/event-stream")
    expect(page.locator(".state")).to_contain_text("Answered from")
    marker = page.locator(".answer button.cite").first
    expect(marker).to_have_attribute("aria-label", "Source 1: Accounts, passwords and hardware keys")
    expect(page.locator(".card").first).to_contain_text("Accounts, passwords and hardware keys")
    expect(page.locator(".made-by")).to_contain_text("quoted")


def test_a_citation_opens_at_its_words_in_the_document(visit: Visit) -> None:
    """The panel shows the quote marked and in view, and leads to the same place in the whole document."""
    page = visit.open("/")
    visit.ask(PASSWORD)
    quote = page.locator(".card-quote").first.inner_text()
    page.locator(".answer button.cite").first.click()
    mark = page.locator("#passage-text mark").first
    expect(mark).to_be_in_viewport()
    marked = mark.inner_text()
    assert marked in quote
    expect(page.locator("#passage-text")).to_contain_text("Second factor")
    page.goto(visit.url + str(page.get_attribute("#passage-open", "href")))
    expect(page.locator("#text mark").first).to_be_in_viewport()
    expect(page.locator("#viewer-head h1")).to_have_text("Accounts, passwords and hardware keys")
    expect(page.locator("#text mark").first).to_contain_text(marked)


def test_a_follow_up_belongs_to_its_conversation(visit: Visit) -> None:
    """The second question carries the conversation that the first answer named."""
    page = visit.open("/")
    replies: list[str] = []

    def overhear(route: Route) -> None:
        reply = route.fetch()
        replies.append(reply.text())
        route.fulfill(response=reply)

    page.route("**/api/v1/answers", overhear)
    visit.ask(PASSWORD)
    done = replies[0].split("event: done\ndata: ")[1].split("\n")[0]
    with page.expect_request("**/api/v1/answers") as second:
        visit.ask("How often do they have to be changed?")
    asked = json.loads(second.value.post_data or "{}")
    assert asked["conversation_id"] == json.loads(done)["conversation_id"]
    expect(page.locator(".turn")).to_have_count(2)


def test_the_way_back_from_a_document_leads_to_the_answer(visit: Visit) -> None:
    """Looking at the whole document does not cost the conversation; a fresh visit starts without one."""
    page = visit.open("/")
    visit.ask(PASSWORD)
    page.locator(".answer button.cite").first.click()
    page.locator("#passage-open").click()
    expect(page.locator("#text mark").first).to_be_in_viewport()
    page.go_back()
    expect(page.locator(".question")).to_have_text(PASSWORD)
    expect(page.locator(".answer button.cite").first).to_be_visible()
    visit.open("/")
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator(".turn")).to_have_count(0)


def test_what_is_not_in_the_documents_is_not_answered(visit: Visit) -> None:
    """The desk says so and offers the nearest documents; there is nothing to cite."""
    page = visit.open("/")
    visit.ask("Which moon of Saturn has the thickest ice?")
    expect(page.locator(".notice-title")).to_have_text("Not found in what you can read")
    expect(page.locator(".answer button.cite")).to_have_count(0)
    expect(page.locator(".cards .card").first).to_be_visible()


def test_an_error_says_what_to_do_and_can_be_retried(visit: Visit) -> None:
    """Code, hint and request id are shown; trying again asks the same question."""
    page = visit.open("/")
    problem = {
        "title": "Service Unavailable", "status": 503, "detail": "the index did not answer",
        "code": "index_unavailable", "hint": "Try again in a moment.", "request_id": "r-77",
    }  # fmt: skip
    page.route(
        "**/api/v1/answers",
        lambda route: route.fulfill(
            status=503, content_type="application/problem+json", body=json.dumps(problem)
        ),
    )
    visit.ask(PASSWORD)
    shown = page.locator(".notice.bad")
    for words in ("The index did not answer", "index_unavailable", "Try again in a moment.", "r-77"):
        expect(shown).to_contain_text(words)
    page.unroute("**/api/v1/answers")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".answer button.cite").first).to_be_visible()
    expect(shown).to_have_count(0)


def test_an_answer_that_breaks_off_is_no_answer(visit: Visit) -> None:
    """Half an answer is taken back when the stream ends without its last event."""
    page = visit.open("/")
    scripted(
        visit, event("references", {"references": [reference()]}), event("delta", {"text": "Half an ans"})
    )
    visit.ask("anything")
    expect(page.locator(".notice.bad")).to_contain_text("broke off")
    expect(page.locator(".answer")).to_be_empty()


def test_extracts_in_place_of_the_model_are_announced(visit: Visit) -> None:
    """After a withdrawal the text starts anew, and the reader is told that the model was unavailable."""
    page = visit.open("/")
    scripted(
        visit,
        event("references", {"references": [reference()]}),
        event("delta", {"text": "Model words. "}),
        event("withdrawn", {"reason": "generator_timeout"}),
        event("delta", {"text": "Some words. [1] "}),
        event("done", answer(fallback_reason="generator_timeout")),
    )
    visit.ask("anything")
    expect(page.locator(".notice.warn")).to_contain_text("the model is unavailable")
    expect(page.locator(".answer")).to_contain_text("Some words.")
    expect(page.locator(".answer")).not_to_contain_text("Model words")


def test_a_model_s_answer_is_labelled_as_generated(visit: Visit) -> None:
    """Text that a model wrote says so, with the model's name (AI Act, Article 50)."""
    page = visit.open("/")
    model = {"name": "gpt-oss-20b", "revision": "1", "generator": "vllm"}
    scripted(visit, event("done", answer(model=model, conflicts=["One says 90, the other 110."])))
    visit.ask("anything")
    expect(page.locator(".made-by")).to_contain_text("AI-generated by gpt-oss-20b")
    expect(page.locator(".notice.warn")).to_contain_text("The sources disagree")


def test_an_answer_can_be_stopped(visit: Visit) -> None:
    """The stop button ends the request and the question can be asked again."""
    page = visit.open("/")
    page.route("**/api/v1/answers", lambda _: None)
    page.fill("#question", "anything")
    page.keyboard.press("Enter")
    page.click("#stop")
    expect(page.locator(".state")).to_contain_text("Stopped")
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()
    expect(page.locator("#send")).to_be_visible()


def test_copying_takes_the_sources_along(visit: Visit) -> None:
    """The clipboard holds question, answer, numbered sources and who wrote it."""
    page = visit.open("/")
    visit.ask(PASSWORD)
    page.get_by_role("button", name="Copy the answer with its citations").click()
    expect(page.locator("#toast")).to_have_text("Copied, with its sources")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(PASSWORD)
    assert "[1] Accounts, passwords and hardware keys" in copied
    assert f"{visit.url}/documents/" in copied


def test_feedback_reaches_the_desk(visit: Visit) -> None:
    """A thumb is sent with the answer's request id and stays pressed."""
    page = visit.open("/")
    visit.ask(PASSWORD)
    with page.expect_response("**/api/v1/feedback") as sent:
        page.get_by_role("button", name="Helpful", exact=True).click()
    assert sent.value.ok
    expect(page.get_by_role("button", name="Helpful", exact=True)).to_have_attribute("aria-pressed", "true")


HOSTILE = (
    "Look: <img src=//canary.invalid/a.png onerror=window.pwned=1> ![x](https://canary.invalid/b.png) "
    "[click](https://canary.invalid/c) <script>window.pwned=1</script> https://canary.invalid/d "
    "<svg/onload=window.pwned=1> \u202egnp.exe\u202c a\u200bb [1] [7]"
)


def test_a_hostile_answer_is_only_text(visit: Visit) -> None:
    """No image, no link, no script comes of an answer; a marker that cites nothing is no button."""
    page = visit.open("/")
    hostile = answer(answer=HOSTILE, references=[reference(title="<b onclick=x>T</b>")])
    scripted(visit, event("delta", {"text": HOSTILE}), event("done", hostile))
    visit.ask("anything")
    body = page.locator(".answer")
    expect(body.locator("img, a, script, svg, iframe, video, object, style, link")).to_have_count(0)
    expect(body).to_contain_text("![x](https://canary.invalid/b.png)")
    expect(body).to_contain_text("<script>window.pwned=1</script>")
    expect(body.locator("button.cite")).to_have_count(1)
    shown = body.inner_text()
    assert "\u202e" not in shown
    assert "\ufffdgnp.exe\ufffd ab" in shown
    assert page.evaluate("window.pwned") is None
