"""`refdesk up`: a desk in the foreground, from an empty folder to the first answer."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval.logs import set_up_logging
from retrieval.settings import Settings, load_settings
from serving.cli.errors import CommandError
from serving.cli.output import progress_bar, say
from serving.cli.running import announced, find_running
from serving.cli.shape import ExampleCommand
from serving.http.listening import open_listener
from serving.identity import check_identity, is_loopback

if TYPE_CHECKING:
    from retrieval.access import Principal
    from retrieval.corpus import Source
    from serving.desk import Desk

_POLL_S = 0.2
_START_S = 30.0
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(
    cls=ExampleCommand,
    examples=(
        "refdesk up --docs ./handbook",
        "refdesk up --docs ./handbook --directory users.toml --port 9000",
        "refdesk up --docs ./handbook --once --ask 'How many days of leave do I get?'",
        "REFDESK_VLLM_URL=http://gpu:8000/v1 refdesk up",
    ),
)
@click.option("--docs", type=_FOLDER, help="Folder to index at start (REFDESK_DOCS).")
@click.option("--data", type=_FOLDER, help="State folder (REFDESK_DATA, default .refdesk).")
@click.option("--host", help="Address to listen on (REFDESK_HOST, default 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port (REFDESK_PORT, default 8080); 0: any.")
@click.option(
    "--directory",
    type=click.Path(dir_okay=False, path_type=Path),
    help="TOML file of users and groups (REFDESK_DIRECTORY).",
)
@click.option("--ask", "question", envvar="REFDESK_ASK", help="Question to answer after indexing.")
@click.option("--once", is_flag=True, help="End after indexing and the printed answer.")
def up(
    docs: Path | None,
    data: Path | None,
    host: str | None,
    port: int | None,
    directory: Path | None,
    question: str | None,
    once: bool,
) -> None:
    """Serve questions: web page, HTTP API, chat and MCP on one address, with the workers in this process.

    The server is up first. With --docs the folder becomes a source of its own (named after the folder, known
    again by its path) and is brought up to date; documents can be found one by one as they are done. Then one
    question is answered with its citations, and the desk serves until Ctrl-C or SIGTERM. What was killed
    half-way goes on at the next start.

    Who may read: files are yours alone unless a .refdesk.toml beside or above them says otherwise. Without
    login (REFDESK_IDENTITY=local, the default) you are the owner, and the desk listens on this machine only;
    to serve others, set REFDESK_IDENTITY to keys (made with `refdesk keys create` before the start), oidc or
    proxy.

    Answers are extracts, quoted word for word, until REFDESK_VLLM_URL names a vLLM server that serves
    gpt-oss. Every setting is a REFDESK_* variable or a line of the TOML file in REFDESK_CONFIG.
    """
    settings = load_settings(data=data, docs=docs, host=host, port=port, directory=directory)
    _check(settings)
    set_up_logging(settings.log_level)
    logging.getLogger("refdesk.access").setLevel(logging.WARNING)
    with _listening(settings) as listener, _stop_signal() as stopped:
        _serve(settings, listener, stopped, question=question, once=once)


def _serve(
    settings: Settings, listener: socket.socket, stopped: threading.Event, *, question: str | None, once: bool
) -> None:
    from serving.embedded import docs_source, open_embedded, request_docs_sync
    from serving.http.app import create_app

    url = _url_of(listener)
    with open_embedded(settings, watch=not once) as embedded:
        desk = embedded.desk
        with _answering(create_app(desk), listener, settings), announced(settings.data, url):
            say(f"Refdesk serves on {url}")
            source = docs_source(settings, desk)
            if source is not None:
                job = request_docs_sync(settings, desk)
                _watch(desk, stopped)
                if job is not None and not stopped.is_set():
                    _report(desk, source, job.id)
            if not stopped.is_set() and (source is not None or question):
                _answer_one(desk, source, question)
            if once or stopped.is_set():
                return
            say(f"Ask at {url} (Ctrl-C ends the desk)")
            while not stopped.wait(_POLL_S):
                pass


def _check(settings: Settings) -> None:
    """Refuse what cannot or must not be served.

    Raises:
        CommandError: Without login on an address that others reach, a folder that is not there, or a desk
            that runs on this state folder already.
        InvalidSettingsError: Other settings under which anybody could come in unseen.
    """
    check_identity(settings)
    if settings.identity == "local" and not is_loopback(settings.host):
        raise CommandError(
            "invalid_settings",
            f"a desk without login must not listen on {settings.host}",
            "Set REFDESK_IDENTITY to keys, oidc or proxy (docs/identity.md), or listen on 127.0.0.1.",
        )
    if settings.docs is not None and not settings.docs.is_dir():
        raise CommandError("invalid_settings", f"docs: {settings.docs} is no folder", "Name one with --docs.")
    running = find_running(settings.data)
    if running is not None:
        hint = "Use that one, stop it, or choose another folder with --data (make run: DATA=)."
        raise CommandError("already_running", f"a desk serves {settings.data} at {running.url}", hint)


def _listening(settings: Settings) -> socket.socket:
    """A socket on the address in the settings."""
    try:
        return open_listener(settings.host, settings.port)
    except OSError as error:
        raise CommandError(
            "port_in_use" if error.errno == errno.EADDRINUSE else "cannot_listen",
            f"cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}",
            "Choose another port with --port (make run: PORT=); 0 takes a free one.",
        ) from error


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, while the block runs."""
    stopped = threading.Event()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _answering(app: Any, listener: socket.socket, settings: Settings) -> Iterator[None]:
    """The application served on the socket by a thread, ready when the block begins."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,  # its lines go where all others go (retrieval.logs)
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        proxy_headers=False,
        limit_concurrency=None,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True)
    thread.start()
    give_up_at = time.monotonic() + _START_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > give_up_at:
            raise CommandError("cannot_listen", f"the server on port {settings.port} did not start")
        time.sleep(0.02)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def _watch(desk: Desk, stopped: threading.Event) -> None:
    """Show progress until no job waits or runs."""
    with progress_bar() as advance:
        while not stopped.wait(_POLL_S):
            totals = desk.corpus.totals()["documents"]
            known = sum(count for state, count in totals.items() if state != "deleted")
            settled = sum(totals.get(state, 0) for state in ("live", "failed", "quarantined"))
            advance("index", settled, known)
            if not desk.jobs.unfinished():
                return


def _report(desk: Desk, source: Source, job_id: Any) -> None:
    """Say how many documents are live and how many failed, by reason."""
    from retrieval.adapters.sql.corpus import DocumentFilter

    job, totals = desk.jobs.job(job_id), desk.corpus.totals()["documents"]
    if job.error_code:
        say(f"{job.error_code}: {job.error_message}")
    unwell = totals.get("failed", 0) + totals.get("quarantined", 0)
    say(f"{source.name}: {totals.get('live', 0)} documents are live, {unwell} failed")
    reasons: Counter[str] = Counter()
    for state in ("failed", "quarantined"):
        narrow = DocumentFilter(state=state)
        failed = desk.corpus.documents(_owner(desk), narrow, after=None, limit=10_000)
        reasons.update(document.error_code for document in failed)
    for reason, count in reasons.most_common():
        say(f"  {count} {reason}")
    if reasons:
        say("  (refdesk docs --state failed lists them)")


def _answer_one(desk: Desk, source: Source | None, question: str | None) -> None:
    """Ask one question, and print its answer with citations."""
    from serving.answer import Question
    from serving.cli.asking import print_answer
    from serving.http.rendering import answer_out

    asked = question or _question_about(desk, source)
    if asked is None:
        return
    answer = desk.answering.answer(Question(asked, _owner(desk), request_id="up", channel="cli"))
    print(f"\nQ: {asked}\nA: ", end="")
    print_answer(answer_out(answer, request_id="up", conversation_id="").model_dump(mode="json"))
    print()
    sys.stdout.flush()


def _question_about(desk: Desk, source: Source | None) -> str | None:
    """A question that the folder's documents should answer: after a heading in one of them."""
    from retrieval.adapters.sql.corpus import DocumentFilter

    narrow = DocumentFilter(state="live", source_id=source.id if source else "")
    for document in desk.corpus.documents(_owner(desk), narrow, after=None, limit=20):
        for passage in desk.corpus.chunks(_owner(desk), document.id, limit=20):
            headings = [each for each in passage.heading_path if each != document.title]
            if headings:
                return f"What does “{document.title}” say about {headings[-1]}?"
    return None


def _owner(desk: Desk) -> Principal:
    from retrieval.access import UserId

    return desk.directory.standing_of(UserId(desk.settings.owner)).principal()


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    loopback = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # shown, not bound
    shown = loopback.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"
