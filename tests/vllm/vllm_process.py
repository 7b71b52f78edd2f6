"""Starts and stops the real vLLM, on loopback, without a network: the tiny gpt-oss, or an embedder or reranker."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx

from serving.adapters.vllm import VllmGenerator, VllmSettings
from serving.errors import GeneratorError

HERE = Path(__file__).parent
MODEL = "openai/gpt-oss-20b"
MAX_MODEL_LEN = 8192
START_TIMEOUT_S = 400.0
STOP_TIMEOUT_S = 20.0

FLAGS = [
    *("--dtype", "float32"),  # bfloat16 is emulated on CPUs without AVX-512 and several times slower
    "--enforce-eager",
]
GENERATES = [
    *("--max-model-len", str(MAX_MODEL_LEN)),
    *("--block-size", "32"),  # the CPU default of 128 keeps short prompts out of the prefix cache
    *("--reasoning-parser", "openai_gptoss"),
    "--enable-prompt-tokens-details",
]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process, so that one kill is a whole crash
    "VLLM_SYSTEM_START_DATE": "2026-01-01",  # the date is in every prompt
    "OMP_NUM_THREADS": "1",  # more threads spin on a busy machine: 8 tokens a second instead of 60
}


@dataclass(frozen=True)
class VllmServer:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    start_s: float
    model: str = MODEL

    @property
    def pid(self) -> int:
        """Of the API process; the engine is a child of it."""
        return self.process.pid

    @property
    def base_url(self) -> str:
        """Root of the API, with `/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def running(self) -> int:
        """How many completions are being written now, by the server's own count."""
        return int(self.metric("num_requests_running") + self.metric("num_requests_waiting"))

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over the lines that have these labels."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False).text
        lines = re.findall(rf"^vllm:{name}{{(.*)}} (\S+)$", text, re.MULTILINE)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(value) for found, value in lines if all(label in found for label in wanted))

    def kill(self) -> None:
        """Crash it: KILL to the whole group, or the engine would live on by itself."""
        self._signal(signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT_S)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped but alive: connections stay open and nothing is written, as when a GPU hangs."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end; harmless when it has ended already."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._signal(signal.SIGKILL)  # whatever of the group did not end with it

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class EndlessTransport(httpx.HTTPTransport):
    """Has the server go on past the model's end: the tiny answers are over too soon to be interrupted."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the same request with `ignore_eos`, which the adapter itself never sets."""
        body = json.loads(request.content) | {"ignore_eos": True}
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        endless = httpx.Request(
            "POST", request.url, headers=headers, json=body, extensions=request.extensions
        )
        return super().handle_request(endless)


def environment_python() -> Path | None:
    """The interpreter of the environment that setup_vllm.sh made, None when it is not there."""
    default = HERE.parents[1] / ".venv-vllm"
    venv = Path(os.environ.get("REFDESK_VLLM_VENV", default))
    return venv / "bin" / "python" if (venv / "refdesk-lock").exists() else None


@contextmanager
def running_vllm(python: Path, log: Path) -> Iterator[VllmServer]:
    """A server that has written a token, stopped at the end.

    Raises:
        RuntimeError: It ended or stayed silent; the end of its log is in the message.
    """
    server = _launch(python, log, model_folder(python), MODEL, GENERATES)
    generator = VllmGenerator(VllmSettings(server.base_url, server.model))
    try:
        with closing(generator):
            yield _ready(server, partial(generator.probe, timeout_s=60.0))
    finally:
        server.stop()


@contextmanager
def running_pooling_vllm(python: Path, log: Path, folder: Path, name: str) -> Iterator[VllmServer]:
    """A server of an embedder or a cross-encoder that is up, stopped at the end.

    Raises:
        RuntimeError: It ended or stayed silent; the end of its log is in the message.
    """
    server = _launch(python, log, folder, name, ["--runner", "pooling"])

    def is_healthy() -> None:
        httpx.get(f"http://127.0.0.1:{server.port}/health", trust_env=False).raise_for_status()

    try:
        yield _ready(server, is_healthy)
    finally:
        server.stop()


def model_folder(python: Path) -> Path:
    """The tiny model, expanded once per core and kept inside the environment."""
    recipe = HERE / "tiny_gptoss.py"
    parts = (HERE / "tiny_core.safetensors").read_bytes() + recipe.read_bytes()
    folder = python.parents[1] / f"tiny-gpt-oss-{hashlib.sha256(parts).hexdigest()[:12]}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes may ask at the same time
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            subprocess.run([python, recipe, unfinished], check=True)
            unfinished.rename(folder)
    return folder


def _launch(python: Path, log: Path, folder: Path, name: str, flags: Sequence[str]) -> VllmServer:
    port = _free_port()
    served = ["--model", str(folder), "--served-model-name", name]
    address = ["--host", "127.0.0.1", "--port", str(port)]
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", *served, *address, *FLAGS, *flags]
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["nice", "-n", "10", *command],
            env=os.environ | ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return VllmServer(process, port, log, began, name)


def _ready(server: VllmServer, probe: Callable[[], object]) -> VllmServer:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at and server.process.poll() is None:
        try:
            probe()
        except (GeneratorError, httpx.HTTPError):
            time.sleep(0.5)
        else:
            took_s = time.monotonic() - server.start_s
            print(f"vLLM was ready after {took_s:.0f} s", file=sys.stderr)
            return replace(server, start_s=took_s)
    tail = server.log.read_text(errors="replace")[-3_000:]
    raise RuntimeError(f"vLLM did not come up (exit status {server.process.poll()}):\n{tail}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
