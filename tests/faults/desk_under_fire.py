"""A desk that indexes a folder until it is idle, to be killed on the way. Run as a process of its own."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from retrieval.settings import load_settings
from serving.embedded import open_embedded, request_docs_sync


def main() -> None:
    """Index the folder `argv[2]` in the state folder `argv[1]` and print `idle` when nothing is left."""
    settings = load_settings(data=Path(sys.argv[1]), docs=Path(sys.argv[2]))
    with open_embedded(settings) as embedded:
        request_docs_sync(settings, embedded.desk)
        print("ready", flush=True)
        while embedded.desk.jobs.unfinished():
            time.sleep(0.05)
        print("idle", flush=True)


if __name__ == "__main__":
    main()
