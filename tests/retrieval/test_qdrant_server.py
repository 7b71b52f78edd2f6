"""How the desk reaches a Qdrant server, and what it makes there."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from retrieval.adapters.qdrant_server import CollectionLayout, QdrantServer, connect, creation_of


class _OnlyRest(BaseHTTPRequestHandler):
    """Answers like a server that has one empty collection and speaks REST only."""

    def do_GET(self) -> None:
        """Whether the collection exists."""
        self._reply({"exists": True})

    def do_POST(self) -> None:
        """The number of its points."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._reply({"count": 0})

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _reply(self, result: dict[str, object]) -> None:
        body = json.dumps({"result": result, "status": "ok", "time": 0.0}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def url() -> Iterator[str]:
    """Address of a server that speaks REST only."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _OnlyRest)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_rest_is_used_where_grpc_does_not_answer(url: str) -> None:
    """A port on which nobody speaks gRPC does not keep the desk from its index."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        index = connect(QdrantServer(url, closed.getsockname()[1]), "chunks", CollectionLayout(4))
        assert index.count() == 0
        index.close()


def test_layout_reaches_the_new_collection() -> None:
    """Shards, copies, confirmations and compression are those of the settings."""
    layout = CollectionLayout(8, shards=3, replicas=2, write_consistency=2, quantization="int8")
    made = creation_of(layout)
    assert (made["shard_number"], made["replication_factor"], made["write_consistency_factor"]) == (3, 2, 2)
    assert made["quantization_config"].scalar.type == "int8"
    assert made["vectors_config"]["dense"].size == 8
    assert "quantization_config" not in creation_of(CollectionLayout(8))
    assert creation_of(CollectionLayout(8, quantization="binary"))["quantization_config"].binary is not None
