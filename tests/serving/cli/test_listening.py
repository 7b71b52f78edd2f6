"""The socket that `refdesk up` serves on."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from pathlib import Path

from retrieval.settings import load_settings
from serving.cli.up import _listening
from tests.loops import on_a_loop


def test_replies_do_not_wait_for_acknowledgements(tmp_path: Path) -> None:
    """Connections have TCP_NODELAY: asyncio sets it only where the listening socket names its protocol."""
    found: list[int] = []

    async def connect(listener: socket.socket) -> None:
        accepted = asyncio.Event()

        def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()
            accepted.set()

        async with await asyncio.start_server(note, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            await asyncio.wait_for(accepted.wait(), 10)
            writer.close()

    settings = load_settings(data=tmp_path, host="127.0.0.1", port=0)
    with _listening(settings) as listener:
        on_a_loop(partial(connect, listener))
    assert found == [1]
