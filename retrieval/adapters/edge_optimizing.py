"""Optimises a shard of Qdrant Edge in a process of its own.

    python -m retrieval.adapters.edge_optimizing FOLDER DIMENSION QUANTIZATION NICENESS PARENT_PID

`EdgeShard.optimize` holds the interpreter's lock for its whole run, minutes at 100,000 points, so it cannot run in
the desk. This process has the lowest priority: it works where the desk leaves a processor free, and ends when the
desk does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from retrieval.adapters.edge_shard import Quantization, load_to_optimise
from retrieval.children import die_with_parent

_LOOK_EVERY_S = 0.2
NICENESS = 19
"""The lowest priority that the kernel knows (nice(2))."""


def optimise_folder(
    folder: Path, *, dimension: int, quantization: Quantization, is_stopped: Callable[[], bool]
) -> bool:
    """Optimise the shard in a folder that no process has open; False when it was stopped or failed."""
    command = [sys.executable, "-P", "-m", __name__, str(folder)]
    facts = [str(dimension), quantization, str(NICENESS), str(os.getpid())]
    child = subprocess.Popen(  # noqa: S603 - our own module, nothing of it from outside
        [*command, *facts], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        while child.poll() is None and not is_stopped():
            time.sleep(_LOOK_EVERY_S)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    return child.returncode == 0


def main() -> None:
    """Optimise and close."""
    folder, dimension, quantization, niceness, parent_pid = sys.argv[1:]
    die_with_parent(int(parent_pid))
    os.nice(int(niceness))
    shard = load_to_optimise(Path(folder), int(dimension), cast("Quantization", quantization))
    shard.optimize()
    shard.flush()
    shard.close()


if __name__ == "__main__":
    main()
