"""Runs one stage of one setup in a process of its own, and measures it from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.cli.memory import MemoryWatch

_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "ANONYMIZED_TELEMETRY": "False",
}
_SHOWN_OF_ERRORS = 2000
_ROOT = Path(__file__).parent.parent.parent


class StageFailedError(Exception):
    """A stage ended with an error, or was not done in time; the message holds the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One process to run.

    Attributes:
        python: Interpreter of the environment that it runs in.
        module: The runner.
        name: `warm`, `index` or `search`.
        config: Which configuration of the runner.
        job: What the runner is handed, without `began` and `result`.
    """

    python: Path
    module: str
    name: str
    config: str
    job: Mapping[str, str]


def run_stage(stage: Stage, scratch: Path, *, bytecode: Path, timeout_s: float) -> dict[str, Any]:
    """What the runner reported, with `wall_s` of the process and `peak_mb` (MiB) of its tree added.

    Args:
        stage: What to run.
        scratch: Folder for the job, the result and what the process prints.
        bytecode: Folder of compiled modules, kept from run to run: no start is to pay for compiling, whatever
            the environments and the settings of this machine say.
        timeout_s: Longest time it may take.

    Raises:
        StageFailedError: It did not end with exit code 0 within the time.
    """
    job_file, result = scratch / f"{stage.name}-job.json", scratch / f"{stage.name}-result.json"
    result.unlink(missing_ok=True)
    began = time.monotonic()
    job_file.write_text(json.dumps({**stage.job, "result": str(result), "began": began}), encoding="utf-8")
    command = [str(stage.python), "-m", stage.module, stage.name, stage.config, str(job_file)]
    with (scratch / f"{stage.name}.log").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command,
            env=_environment(bytecode),
            cwd=_ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with MemoryWatch(process.pid) as memory:
            code = _wait(process, timeout_s)
        wall_s = time.monotonic() - began
        if code != 0 or not result.exists():
            log.seek(0)
            why = "not done in time" if code is None else f"exit code {code}"
            raise StageFailedError(
                f"{stage.module} {stage.name} {stage.config}: {why}\n{log.read()[-_SHOWN_OF_ERRORS:]}"
            )
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return {**found, "wall_s": wall_s, "peak_mb": memory.peak_mb}


def size_mb(folder: Path) -> float:
    """MiB that the files of a folder take on disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 2**20


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """The exit code; None when the time was up, and the whole group was killed."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:  # also when somebody interrupts the benchmark
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment(bytecode: Path) -> dict[str, str]:
    """The environment of now without settings of a desk, and with every library kept off the network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REFDESK_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, **_OFFLINE, "PYTHONPYCACHEPREFIX": str(bytecode)}
