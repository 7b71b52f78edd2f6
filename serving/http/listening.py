"""The socket that an application is served on."""

from __future__ import annotations

import socket

_BACKLOG = 128


def open_listener(host: str, port: int = 0) -> socket.socket:
    """A socket that listens on an address of this machine; port 0 takes a free one. The caller closes it.

    It names its protocol: asyncio sets TCP_NODELAY on connections of such sockets only, and without it each reply
    waits 40 ms for the client's delayed acknowledgement of its head.

    Raises:
        OSError: The address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
