"""The whole desk on the real vLLM server: HTTP in, checked citations out, extracts when the server dies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from openai import OpenAI

from retrieval.adapters.bm25 import EdgeBm25
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.adapters.sql.token_use import SqlTokenUse
from retrieval.settings import load_settings
from retrieval.wiring import model_folder, utc_now
from serving.adapters.vllm import VllmGenerator, VllmSettings
from serving.answering import Answering, AnsweringSettings
from serving.budget import Spending, TokenBudget
from serving.desk import Desk
from serving.embedded import open_embedded, request_docs_sync
from serving.extractive import ExtractiveGenerator
from serving.http.app import create_app
from serving.http.listening import open_listener
from tests.desks import wait_until_idle
from tests.vllm.vllm_process import EndlessTransport, VllmServer

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.xdist_group("vllm")]

QUESTION = "Whom does the travel policy apply to?"
POLICY = """# Travel policy

According to the sources of this handbook, the policy applies to all staff from 1 May.
"""


@contextmanager
def _desk(folder: Path, **settings: Any) -> Iterator[Desk]:
    docs = folder / "docs"
    docs.mkdir()
    (docs / "travel.md").write_text(POLICY)
    chosen = load_settings(data=folder / "data", docs=docs, **settings)
    with open_embedded(chosen) as embedded:
        request_docs_sync(chosen, embedded.desk)
        wait_until_idle(embedded.desk)
        yield embedded.desk


@contextmanager
def _served(desk: Desk) -> Iterator[str]:
    """The desk on a free loopback port."""
    with open_listener("127.0.0.1") as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(desk), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture
def url(vllm_server: VllmServer, tmp_path: Path) -> Iterator[str]:
    """A served desk whose answers the real model writes."""
    model = {"vllm_url": vllm_server.base_url, "vllm_model": vllm_server.model}
    with _desk(tmp_path, **model) as desk, _served(desk) as url:
        yield url


def _events(reply: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in reply.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        if line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_model_answers_with_a_checked_citation(url: str) -> None:
    """The model's sentence comes back with the passage that bears it out."""
    reply = httpx.post(f"{url}/api/v1/answers", json={"question": QUESTION}, timeout=60).json()
    assert reply["model"]["generator"] == "vllm"
    assert reply["answer"] == "According to the sources, the policy applies. [1]"
    (citation,) = reply["citations"]
    assert citation["support"] >= 0.5
    assert citation["quote"] in POLICY
    assert not reply["abstained"]


def test_streamed_answer_is_the_same(url: str) -> None:
    """Streamed and not, the words and the citations are the same."""
    whole = httpx.post(f"{url}/api/v1/answers", json={"question": QUESTION}, timeout=60).json()
    body = {"question": QUESTION, "stream": True}
    with httpx.stream("POST", f"{url}/api/v1/answers", json=body, timeout=60) as reply:
        events = list(_events(reply))
    assert next(name for name, _ in events) == "references"
    text = "".join(data["text"] for name, data in events if name == "delta")
    assert text.strip() == whole["answer"]
    assert events[-1][0] == "done"
    assert events[-1][1]["citations"] == whole["citations"]


def test_official_client_gets_the_same(url: str) -> None:
    """The `openai` package asks the desk like any model, streamed and not."""
    client = OpenAI(base_url=f"{url}/v1", api_key="local")
    messages: Any = [{"role": "user", "content": QUESTION}]
    reply = client.chat.completions.create(model="refdesk", messages=messages)
    text = reply.choices[0].message.content
    assert text == "According to the sources, the policy applies. [1]"
    annotations = reply.choices[0].message.annotations
    assert annotations is not None
    assert annotations[0].url_citation.title == "Travel policy"
    stream = client.chat.completions.create(model="refdesk", messages=messages, stream=True)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert streamed.strip() == text


def test_server_killed_mid_answer(start_vllm: Callable[[], VllmServer], tmp_path: Path) -> None:
    """When the model dies while it writes, extracts answer, and say so."""
    server = start_vllm()
    with ExitStack() as stack:
        desk = stack.enter_context(_desk(tmp_path))
        client = stack.enter_context(httpx.Client(transport=EndlessTransport()))
        model = VllmGenerator(VllmSettings(base_url=server.base_url, model=server.model), client=client)
        url = stack.enter_context(_served(replace(desk, answering=_answering(desk, model))))
        killer = threading.Thread(target=_kill_once_it_writes, args=(server,))
        killer.start()
        body = {"question": QUESTION, "stream": True}
        with httpx.stream("POST", f"{url}/api/v1/answers", json=body, timeout=60) as reply:
            name, data = list(_events(reply))[-1]
        killer.join()
        assert name == "done"
        assert data["model"]["generator"] == "extractive"
        assert data["fallback_reason"].startswith("generator_")
        assert "from 1 May" in data["answer"]
        again = httpx.post(f"{url}/api/v1/answers", json={"question": QUESTION}, timeout=60).json()
        assert again["model"]["generator"] == "extractive"
        assert again["citations"]


def _kill_once_it_writes(server: VllmServer) -> None:
    while not server.running():
        time.sleep(0.005)
    server.kill()


def _answering(desk: Desk, model: VllmGenerator) -> Answering:
    return Answering(
        search=desk.search,
        corpus=desk.corpus,
        embedder=OnnxEmbedder(model_folder(desk.settings)),
        sparse=EdgeBm25(),
        audit=desk.audit,
        model=model,
        extractive=ExtractiveGenerator(),
        settings=AnsweringSettings(),
        spending=Spending(TokenBudget(), SqlTokenUse(desk.database, utc_now)),
    )
