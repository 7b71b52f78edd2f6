"""moto's S3 server on loopback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

BUCKET = "handbook"
KEYS = {"ACCESS": "access-word", "SECRET": "secret-word"}
CREDENTIALS = {"access_key": "ACCESS", "secret_key": "SECRET"}


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a running server."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def s3_client(endpoint_url: str) -> Any:
    """A client that fills the server."""
    import boto3

    return boto3.session.Session(
        aws_access_key_id=KEYS["ACCESS"], aws_secret_access_key=KEYS["SECRET"]
    ).client("s3", endpoint_url=endpoint_url, region_name="us-east-1")


def fresh_bucket(endpoint_url: str) -> Any:
    """A client of a server that holds nothing but an empty bucket."""
    httpx.post(f"{endpoint_url}/moto-api/reset", trust_env=False).raise_for_status()
    client = s3_client(endpoint_url)
    client.create_bucket(Bucket=BUCKET)
    return client
