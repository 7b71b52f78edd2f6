"""A real HTTP server on loopback that embeds and reranks with real models, and misbehaves on request.

It speaks as vLLM does below `/v1` (OpenAI's `/embeddings`, Cohere's `/rerank`) and as Text Embeddings Inference
does at its root (`/rerank` with `texts`), with their limits: unknown models, more than 32 texts. `tests/vllm` runs
the same contracts on the real vLLM.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from retrieval.ports import Embedder, Reranker

MODEL = "served-model"
_MOST_TEXTS = 32


@dataclass(frozen=True)
class Replies:
    """What the server sends instead of a proper reply. `trickle_s` is the pause between two bytes."""

    body: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    trickle_s: float = 0.0


@dataclass(frozen=True)
class Received:
    """A request as it came in."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


class FakeModelServer:
    """Serves on a free port of loopback until closed."""

    def __init__(self, embedder: Embedder | None = None, reranker: Reranker | None = None) -> None:
        """Serve these models; a route without its model answers 404."""
        self.embedder = embedder
        self.reranker = reranker
        self.scripts: deque[Replies] = deque()
        self.received: list[Received] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def root(self) -> str:
        """Base URL of the TEI routes."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def v1(self) -> str:
        """Base URL of the routes that vLLM has."""
        return f"{self.root}/v1"

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; afterwards connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply_to(self, request: Received) -> Replies:
        """The next scripted reply, else the models' own."""
        self.received.append(request)
        return self.scripts.popleft() if self.scripts else self._own(request)

    def _own(self, request: Received) -> Replies:
        body, under_v1 = request.body, request.path.startswith("/v1/")
        texts = body.get("input", body.get("documents", body.get("texts")))
        if under_v1 and body.get("model") != MODEL:
            return _error(404, "The model does not exist.")
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            return _error(422, "texts are missing")
        if len(texts) > _MOST_TEXTS:
            return _error(422, f"batch size {len(texts)} > maximum allowed batch size {_MOST_TEXTS}")
        if request.path == "/v1/embeddings" and self.embedder is not None:
            rows = self.embedder.embed_documents(texts).tolist()
            data = [{"index": i, "object": "embedding", "embedding": row} for i, row in enumerate(rows)]
            return Replies(json.dumps({"object": "list", "model": MODEL, "data": data}))
        if request.path in {"/v1/rerank", "/rerank"} and self.reranker is not None:
            scores = enumerate(self.reranker.score(body["query"], texts))
            ranked = sorted(scores, key=lambda pair: -pair[1])
            if under_v1:
                results = [
                    {"index": i, "document": {"text": texts[i]}, "relevance_score": s} for i, s in ranked
                ]
                return Replies(json.dumps({"id": "rerank-1", "model": MODEL, "results": results}))
            return Replies(json.dumps([{"index": index, "score": score} for index, score in ranked]))
        return _error(404, "Not Found")


def _error(status: int, message: str) -> Replies:
    return Replies(json.dumps({"error": {"message": message, "code": status}}), status)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, fake: FakeModelServer) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """One request."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = self.server.fake.reply_to(Received(self.path, dict(self.headers.items()), body))
        time.sleep(reply.delay_s)
        try:
            self._send(reply)
        except OSError:  # the client has hung up
            self.close_connection = True

    def _send(self, reply: Replies) -> None:
        content = reply.body.encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not reply.trickle_s:
            self.wfile.write(content)
            return
        for byte in content:
            self.wfile.write(bytes([byte]))
            time.sleep(reply.trickle_s)

    def log_message(self, *_: object) -> None:
        """Keep the test output clean."""
