"""Freed memory goes back to the system."""

from __future__ import annotations

import numpy as np
import psutil

from workers.memory import return_free_memory


def test_holes_left_by_small_buffers_are_returned() -> None:
    """Thousands of freed buffers between ones that are kept do not stay resident."""
    process = psutil.Process()
    buffers = [np.ones(12_000, np.uint8) for _ in range(20_000)]  # below the size that is mapped by itself
    full = process.memory_info().rss
    kept = buffers[::100]
    del buffers
    return_free_memory()
    assert full - process.memory_info().rss > 100_000_000
    assert len(kept) == 200
