"""What every connector is built from, besides the source itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingest.ports import ConnectorMemory


@dataclass(frozen=True, slots=True)
class ConnectorParts:
    """What the desk lends to a connector.

    Attributes:
        work_folder: Private folder of the source; the connector may fill it, the desk may empty it.
        memory: Facts kept between syncs.
        max_file_bytes: Larger documents are refused on fetch.
        secret: Value of the secret that an option names; `SourceUnavailableError` when there is none.
    """

    work_folder: Path
    memory: ConnectorMemory
    max_file_bytes: int
    secret: Callable[[str], str]
