"""The socket that `refdesk up` serves on."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from retrieval.settings import load_settings
from serving.cli.up import _listening


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
    # on a thread of its own: in this one a browser test may have left a loop running
    with _listening(settings) as listener, ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, connect(listener)).result()
    assert found == [1]
