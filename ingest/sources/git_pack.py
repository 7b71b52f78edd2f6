"""Looks over a received pack before anything unpacks it: a few bytes of a pack can stand for gigabytes."""

from __future__ import annotations

import zlib
from typing import IO

_HEADER_BYTES = 12
_TRAILER_BYTES = 20
_OFFSET_DELTA = 6
_REFERENCE_DELTA = 7
_STEP = 2**16


class PackRefusedError(Exception):
    """The pack is damaged, or holds an object over the limit."""


def check_pack(file: IO[bytes], *, max_object_bytes: int) -> int:
    """Walk over a pack's objects, unpacking in small steps and keeping nothing.

    Args:
        file: A whole pack, at its start; `git help gitformat-pack` describes it.
        max_object_bytes: Most bytes that an object may have, also after its delta is applied.

    Returns:
        Number of objects.

    Raises:
        PackRefusedError: An object is larger, or larger than it says, or the pack is damaged.
    """
    reader = _Reader(file)
    header = reader.take(_HEADER_BYTES)
    if header[:4] != b"PACK":
        raise PackRefusedError("what was received is no pack")
    n_objects = int.from_bytes(header[8:], "big")
    for _ in range(n_objects):
        kind, size = reader.object_head()
        if size > max_object_bytes:
            raise PackRefusedError(f"an object has {size} bytes")
        start = reader.inflate(size)
        if kind in (_OFFSET_DELTA, _REFERENCE_DELTA) and _result_size(start) > max_object_bytes:
            raise PackRefusedError(f"an object has {_result_size(start)} bytes")
    return n_objects


class _Reader:
    """Reads a file in steps and can give back what it read too much."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rest = b""

    def take(self, n_bytes: int) -> bytes:
        while len(self._rest) < n_bytes:
            more = self._file.read(_STEP)
            if not more:
                raise PackRefusedError("the pack ends too early")
            self._rest += more
        taken, self._rest = self._rest[:n_bytes], self._rest[n_bytes:]
        return taken

    def object_head(self) -> tuple[int, int]:
        """Type and size of the next object; what names a delta's base is passed over."""
        byte = self.take(1)[0]
        kind, size, shift = (byte >> 4) & 7, byte & 15, 4
        while byte & 0x80:
            byte = self.take(1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise PackRefusedError("an object states an impossible size")
        if kind == _OFFSET_DELTA:
            while self.take(1)[0] & 0x80:
                pass
        elif kind == _REFERENCE_DELTA:
            self.take(_TRAILER_BYTES)
        return kind, size

    def inflate(self, size: int) -> bytes:
        """Pass over an object's packed bytes; returns the first few of them unpacked."""
        unpacker, n_bytes, start = zlib.decompressobj(), 0, b""
        chunk = b""
        while not unpacker.eof:
            packed = chunk or self._some()
            try:
                plain = unpacker.decompress(packed, _STEP)
            except zlib.error as error:
                raise PackRefusedError("an object is damaged") from error
            n_bytes += len(plain)
            start = start or plain[:32]
            if n_bytes > size:
                raise PackRefusedError("an object is larger than it says")
            chunk = unpacker.unconsumed_tail
        self._rest = unpacker.unused_data
        return start

    def _some(self) -> bytes:
        packed, self._rest = self._rest, b""
        return packed or self.take(1) + self._drain()

    def _drain(self) -> bytes:
        drained, self._rest = self._rest, b""
        return drained


def _result_size(delta: bytes) -> int:
    """The size of a delta's result, which stands at its start after the size of its base."""
    sizes, position = [], 0
    for _ in range(2):
        size, shift = 0, 0
        while position < len(delta):
            byte = delta[position]
            size |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if not byte & 0x80:
                break
        sizes.append(size)
    return sizes[1]
