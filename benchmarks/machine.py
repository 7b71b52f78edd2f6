"""What kind of machine figures were taken on, and what of it was used: nothing that names it or a place on it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil


def machine_facts() -> dict[str, str]:
    """Processor, cores that may be used, memory, system and Python, in words."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": str(usable),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }


def load() -> float:
    """Load average of the last minute."""
    return os.getloadavg()[0]


def used_cpu_s() -> float:
    """Seconds of processor time that this process and all below it have used so far."""
    root = psutil.Process()
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return sum(each.user + each.system + each.children_user + each.children_system for each in times)


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown")
