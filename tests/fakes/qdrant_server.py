"""A server process that speaks the part of Qdrant's REST interface that the desk uses, on the real engine.

    python -m tests.fakes.qdrant_server PORT FOLDER

Each collection is a Qdrant Edge shard in a folder of its own. As with the true server, an acknowledged write
survives a killed process. A collection that cannot be opened is set aside and counts as absent.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import qdrant_edge as edge

Body = dict[str, Any]


class NoCollectionError(Exception):
    """The named collection does not exist."""


class Collection:
    """One shard, with the vectors and filters of the REST interface turned into the engine's."""

    def __init__(self, shard: Any) -> None:
        self._shard = shard
        self._writing = threading.Lock()

    def put_points(self, body: Body) -> Any:
        """PUT /points."""
        points = [
            edge.Point(point["id"], _vectors(point["vector"]), point.get("payload") or {})
            for point in body["points"]
        ]
        return self._update(edge.UpdateOperation.upsert_points(points))

    def delete_points(self, body: Body) -> Any:
        """POST /points/delete, by ids or by filter."""
        if "points" in body:
            return self._update(edge.UpdateOperation.delete_points(list(body["points"])))
        return self._update(edge.UpdateOperation.delete_points_by_filter(_filter(body["filter"])))

    def set_payload(self, body: Body) -> Any:
        """POST /points/payload, by filter or by ids."""
        if body.get("filter"):
            operation = edge.UpdateOperation.set_payload_by_filter(_filter(body["filter"]), body["payload"])
        else:
            operation = edge.UpdateOperation.set_payload(list(body["points"]), body["payload"])
        return self._update(operation)

    def put_vectors(self, body: Body) -> Any:
        """PUT /points/vectors."""
        changed = [edge.PointVectors(point["id"], _vectors(point["vector"])) for point in body["points"]]
        return self._update(edge.UpdateOperation.update_vectors(changed))

    def put_index(self, body: Body) -> Any:
        """PUT /index."""
        schema = body["field_schema"]
        kind = schema if isinstance(schema, str) else schema["type"]
        made: Any = edge.PayloadSchemaType.Integer if kind == "integer" else edge.PayloadSchemaType.Keyword
        if isinstance(schema, dict) and schema.get("prefix"):
            made = edge.KeywordIndexParams(prefix=True)
        return self._update(edge.UpdateOperation.create_field_index(body["field_name"], made))

    def query(self, body: Body) -> Any:
        """POST /points/query: nearest by one vector."""
        request = edge.QueryRequest(
            limit=body.get("limit", 10),
            query=_nearest(body),
            filter=_filter(body.get("filter")),
            with_payload=body.get("with_payload", False),
        )
        found = self._shard.query(request)
        return {
            "points": [
                {"id": str(point.id), "version": 0, "score": point.score, "payload": point.payload}
                for point in found
            ]
        }

    def query_batch(self, body: Body) -> Any:
        """POST /points/query/batch: several queries, answered in their order."""
        return [self.query(each) for each in body["searches"]]

    def scroll(self, body: Body) -> Any:
        """POST /points/scroll: ids only, or with payload."""
        shows = bool(body.get("with_payload"))
        request = edge.ScrollRequest(
            offset=body.get("offset"), limit=body.get("limit", 10), with_payload=shows, with_vector=False
        )
        records, offset = self._shard.scroll(request)
        points = [{"id": str(each.id), "payload": each.payload if shows else None} for each in records]
        return {"points": points, "next_page_offset": None if offset is None else str(offset)}

    def retrieve(self, body: Body) -> Any:
        """POST /points: known points by id, with the dense vector that is asked for."""
        wanted = body.get("with_vector") or []
        found = self._shard.retrieve(list(body["ids"]), with_payload=False, with_vector=bool(wanted))
        return [
            {"id": str(each.id), "vector": {name: list(each.vector[name]) for name in wanted}}
            for each in found
        ]

    def count(self, body: Body) -> Any:
        """POST /points/count."""
        return {"count": int(self._shard.count(edge.CountRequest(exact=True)))}

    def close(self) -> None:
        """Release the shard."""
        with self._writing:
            self._shard.close()

    def _update(self, operation: Any) -> Any:
        with self._writing:
            self._shard.update(operation)
        return {"operation_id": 0, "status": "completed"}


class Store:
    """All collections of a folder, and their aliases."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changing = threading.Lock()
        self._collections: dict[str, Collection] = {}
        self._aliases: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for each in sorted(folder.iterdir()):
            if each.is_dir() and not each.name.endswith(".corrupt"):
                self._load(each)

    def _load(self, folder: Path) -> None:
        try:
            self._collections[folder.name] = Collection(edge.EdgeShard.load(str(folder)))
        except Exception as error:  # noqa: BLE001 - the engine raises plain Exception for everything
            print(f"cannot open {folder.name}: {error}", flush=True)
            folder.rename(folder.with_name(f"{folder.name}.corrupt"))

    def collection(self, name: str) -> Collection:
        """The collection of this name or alias."""
        found = self._collections.get(self._aliases.get(name, name))
        if found is None:
            raise NoCollectionError(name)
        return found

    def names(self) -> list[str]:
        """Names of all collections."""
        return sorted(self._collections)

    def create(self, name: str, body: Body) -> bool:
        """PUT /collections/{name}; asked twice, the second time changes nothing."""
        with self._changing:
            if name not in self._collections:
                dense = {
                    key: edge.EdgeVectorParams(size=each["size"], distance=edge.Distance.Dot)
                    for key, each in body["vectors"].items()
                }
                sparse = {
                    key: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)
                    for key in body["sparse_vectors"]
                }
                folder = self._folder / name
                folder.mkdir()
                config = edge.EdgeConfig(vectors=dense, sparse_vectors=sparse)
                self._collections[name] = Collection(edge.EdgeShard.create(str(folder), config))
        return True

    def drop(self, name: str) -> bool:
        """DELETE /collections/{name}."""
        with self._changing:
            found = self._collections.pop(name, None)
            if found is not None:
                found.close()
                (self._folder / name).rename(self._folder / f"{name}.{id(found)}.corrupt")
        return found is not None

    def change_aliases(self, body: Body) -> bool:
        """POST /collections/aliases: all actions at once."""
        with self._changing:
            aliases = dict(self._aliases)
            for action in body["actions"]:
                if "delete_alias" in action:
                    aliases.pop(action["delete_alias"]["alias_name"], None)
                if "create_alias" in action:
                    made = action["create_alias"]
                    aliases[made["alias_name"]] = made["collection_name"]
            self._aliases = aliases
        return True

    def aliases(self) -> Any:
        """GET /aliases."""
        return {
            "aliases": [
                {"alias_name": alias, "collection_name": name} for alias, name in self._aliases.items()
            ]
        }


_OF_POINTS: dict[tuple[str, str], Callable[[Collection, Body], Any]] = {
    ("PUT", "/points"): Collection.put_points,
    ("POST", "/points/delete"): Collection.delete_points,
    ("POST", "/points/payload"): Collection.set_payload,
    ("PUT", "/points/vectors"): Collection.put_vectors,
    ("PUT", "/index"): Collection.put_index,
    ("POST", "/points"): Collection.retrieve,
    ("POST", "/points/query"): Collection.query,
    ("POST", "/points/query/batch"): Collection.query_batch,
    ("POST", "/points/scroll"): Collection.scroll,
    ("POST", "/points/count"): Collection.count,
}


def respond(store: Store, method: str, path: str, body: Body) -> Any:
    """The result of one request.

    Raises:
        NoCollectionError: The collection does not exist.
        LookupError: The request is none that this server knows.
    """
    if (method, path) == ("POST", "/collections/aliases"):
        return store.change_aliases(body)
    if (method, path) == ("GET", "/aliases"):
        return store.aliases()
    if (method, path) == ("GET", "/collections"):
        return {"collections": [{"name": name} for name in store.names()]}
    match = re.fullmatch(r"/collections/([^/]+)(/.*)?", path)
    if match is None:
        raise LookupError(path)
    name, rest = match[1], match[2] or ""
    if (method, rest) == ("GET", "/exists"):
        return {"exists": name in store.names()}
    if (method, rest) == ("PUT", ""):
        return store.create(name, body)
    if (method, rest) == ("DELETE", ""):
        return store.drop(name)
    return _OF_POINTS[method, rest](store.collection(name), body)


def make_server(port: int, folder: Path) -> ThreadingHTTPServer:
    """A server on the loopback address; `serve_forever` runs it."""
    store = Store(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.connection.setsockopt(6, 1, 1)  # TCP_NODELAY: a reply is two small packets

        def log_message(self, *_args: Any) -> None:
            """Say nothing."""

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            path = self.path.partition("?")[0]
            try:
                status, result = HTTPStatus.OK, respond(store, self.command, path, body)
            except (NoCollectionError, LookupError) as error:
                status, result = HTTPStatus.NOT_FOUND, {"error": f"Not found: {error}"}
            except Exception as error:  # noqa: BLE001 - a server answers whatever happened
                status, result = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(error)}
            is_good = status is HTTPStatus.OK
            reply = {
                "result": result if is_good else None,
                "status": "ok" if is_good else result,
                "time": 0.0,
            }
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _answer

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    return Server(("127.0.0.1", port), Handler)


def _vectors(given: Body) -> Any:
    return {
        name: edge.SparseVector(value["indices"], value["values"]) if isinstance(value, dict) else value
        for name, value in given.items()
    }


def _nearest(leg: Body) -> Any:
    wanted = leg["query"]
    if isinstance(wanted, dict) and "nearest" in wanted:
        wanted = wanted["nearest"]
    if isinstance(wanted, dict):
        wanted = edge.SparseVector(wanted["indices"], wanted["values"])
    return edge.Query.Nearest(wanted, leg.get("using"))


def _filter(given: Body | None) -> Any:
    if not given:
        return None
    clauses: dict[str, Any] = {}
    for name in ("must", "must_not", "should"):
        wanted = given.get(name)
        if wanted:
            conditions = wanted if isinstance(wanted, list) else [wanted]
            clauses[name] = [_condition(each) for each in conditions]
    return edge.Filter(**clauses)


def _condition(given: Body) -> Any:
    if "has_id" in given:
        return edge.HasIdCondition(set(given["has_id"]))
    key, match, limits = given["key"], given.get("match"), given.get("range")
    if limits:
        return edge.FieldCondition(key=key, range=edge.RangeFloat(gte=limits.get("gte"), lt=limits.get("lt")))
    assert match is not None
    if "any" in match:
        return edge.FieldCondition(key=key, match=edge.MatchAny(match["any"]))
    if "prefix" in match:
        return edge.FieldCondition(key=key, match=edge.MatchPrefix(match["prefix"]))
    return edge.FieldCondition(key=key, match=edge.MatchAny([match["value"]]))


if __name__ == "__main__":
    make_server(int(sys.argv[1]), Path(sys.argv[2])).serve_forever()
