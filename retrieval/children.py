"""Processes that this one starts."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; ends at once if it has already."""
    _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)
