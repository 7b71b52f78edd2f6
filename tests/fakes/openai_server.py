"""A real HTTP server on loopback that speaks the chat-completions protocol and misbehaves on request.

Without a script it behaves like the tiny gpt-oss of `tests/vllm`: it thinks, then cites `[1]` when that
marker is in the prompt. It also shares vLLM's bad habit of showing a cut-off header as content.
"""

from __future__ import annotations

import json
import select
import socket
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

MODEL = "openai/gpt-oss-20b"
CITES = "According to the sources, the policy applies [1]."
REFUSES = "I cannot answer: no source covers this."
THOUGHTS = {"low": "Quick look.", "medium": "Checking the sources given.", "high": "Checking " * 20}


@dataclass(frozen=True)
class Says:
    """A piece of the answer; None is an explicit null."""

    text: str | None


@dataclass(frozen=True)
class Thinks:
    """A piece of reasoning, under the name that the server's version uses."""

    text: str
    field: str = "reasoning"


@dataclass(frozen=True)
class Waits:
    """Seconds without an event, fewer when the client hangs up; `comments` fills them with keep-alives."""

    seconds: float
    comments: bool = False


@dataclass(frozen=True)
class Ends:
    """The last choice, with its finish reason."""

    reason: str = "stop"


@dataclass(frozen=True)
class Sends:
    """A line as it is, for what no well-behaved server sends."""

    line: str


@dataclass(frozen=True)
class Drops:
    """The connection breaks."""


Event = Says | Thinks | Waits | Ends | Sends | Drops


@dataclass(frozen=True)
class Streams:
    """Status 200 and these events; usage and the end mark follow unless the connection broke."""

    events: tuple[Event, ...]
    whole: bool = True


@dataclass(frozen=True)
class Replies:
    """A plain response."""

    status: int
    body: str = ""
    content_type: str = "application/json"
    delay_s: float = 0.0


Script = Streams | Replies


def streams(*events: Event, whole: bool = True) -> Streams:
    """A reply from its events."""
    return Streams(events, whole)


def error_body(message: str, *, kind: str = "BadRequestError", code: int = 400) -> str:
    """An error as vLLM words it."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    headers: Mapping[str, str]
    body: Mapping[str, Any]


class FakeOpenAIServer:
    """Serves scripted replies in order, then behaves; use it as a context manager."""

    def __init__(self, *, n_prompt_words: int = 4_000) -> None:
        """Listen on a free port; longer prompts than `n_prompt_words` are refused."""
        self.model = MODEL
        self.received: list[Received] = []
        self.n_prompt_words = n_prompt_words
        self._scripts: deque[Script] = deque()
        self._running = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        """Root of the API, with `/v1`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def script(self, *replies: Script) -> None:
        """Answer the next requests with these."""
        self._scripts.extend(replies)

    def running(self) -> int:
        """How many completions are being written now."""
        with self._lock:
            return self._running

    def take(self, received: Received) -> Script:
        """Record a request and give its reply."""
        with self._lock:
            self.received.append(received)
            if self._scripts:
                return self._scripts.popleft()
        return self._behave(received.body)

    def count(self, change: int) -> None:
        """Note that a completion began (1) or ended (-1)."""
        with self._lock:
            self._running += change

    def _behave(self, body: Mapping[str, Any]) -> Script:
        prompt = " ".join(message["content"] for message in body["messages"])
        if body["model"] != self.model:
            return Replies(404, error_body("The model does not exist.", kind="NotFoundError", code=404))
        if len(prompt.split()) > self.n_prompt_words:
            return Replies(400, error_body(f"maximum context length exceeded: {prompt[:50]}"))
        if body["max_completion_tokens"] < 3:
            return streams(Says("<|channel|>analysis"), Ends("length"))
        thought = Thinks(THOUGHTS[body["reasoning_effort"]])
        pieces = (CITES if "[1]" in prompt else REFUSES).replace(" ", " \0").split("\0")
        said = (event for piece in pieces for event in (Says(piece), Waits(0.005)))
        return streams(Says(""), thought, *said, Ends())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeOpenAIServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client hangs up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every small write waits 40 ms for an acknowledgement
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is inherited)
        """Keep the test output clean."""

    def do_GET(self) -> None:
        """Health only."""
        self._send(Replies(200 if self.path == "/health" else 404))

    def do_POST(self) -> None:
        """One completion."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        script = self.server.fake.take(Received(dict(self.headers.items()), body))
        self.server.fake.count(1)
        try:
            if isinstance(script, Replies):
                self._send(script)
            else:
                self._stream(script)
        except OSError:
            self.close_connection = True
        finally:
            self.server.fake.count(-1)

    def _send(self, reply: Replies) -> None:
        self._wait(reply.delay_s)
        body = reply.body.encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, script: Streams) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in script.events:
            if isinstance(event, Drops):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            for line in self._lines(event):
                self._chunk(line)
        if script.whole:
            usage = {
                "prompt_tokens": 90,
                "completion_tokens": 24,
                "prompt_tokens_details": {"cached_tokens": 64},
            }
            usage["completion_tokens_details"] = {"reasoning_tokens": 3}
            self._chunk(_data({"choices": [], "usage": usage, "system_fingerprint": "vllm-0.32.0-fake"}))
            self._chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _lines(self, event: Event) -> Iterator[str]:
        match event:
            case Says(text):
                yield _choice({"content": text})
            case Thinks(text, name):
                yield _choice({name: text})
            case Ends(reason):
                yield _choice({}, reason)
            case Sends(line):
                yield line
            case Waits(seconds, comments):
                for _ in range(20 if comments else 1):
                    self._wait(seconds / (20 if comments else 1))
                    yield from (": still here\n\n",) if comments else ()

    def _wait(self, seconds: float) -> None:
        """Sleep, but notice a client that hangs up."""
        if seconds and select.select([self.connection], [], [], seconds)[0]:
            raise ConnectionResetError

    def _chunk(self, text: str) -> None:
        body = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
        self.wfile.flush()


def _choice(delta: Mapping[str, object], finish: str | None = None) -> str:
    return _data({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _data(content: Mapping[str, object]) -> str:
    # vLLM leaves other scripts as they are, line separators such as U+2028 included
    return f"data: {json.dumps({'object': 'chat.completion.chunk', **content}, ensure_ascii=False)}\n\n"
