"""What a connector is given besides its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingest.ports import ConnectorMemory


@dataclass(frozen=True, slots=True)
class ConnectorParts:
    """What every module of `ingest.sources` needs to build its connector.

    Attributes:
        work_folder: The source's own folder for copies that can be made again; may not exist yet.
        memory: Facts kept between syncs.
        max_file_bytes: Larger documents are refused on fetch.
        secret: Maps a secret's name, as written in `Source.options`, to its value; raises
            `SourceUnavailableError` when there is no such secret.
    """

    work_folder: Path
    memory: ConnectorMemory
    max_file_bytes: int
    secret: Callable[[str], str]
