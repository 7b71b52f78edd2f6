"""Composition root of a worker of a split desk: takes tasks from the broker, and relays the outbox.

    python -m workers.app

Needs a Qdrant server, a catalogue server and a broker (`require_split`). Several may run; each relays, and
they share the outbox.
"""

from __future__ import annotations

from retrieval.logs import set_up_logging
from retrieval.settings import load_settings
from retrieval.wiring import open_corpus, require_split
from workers.queue import make_app, worker_arguments
from workers.relay import Relay
from workers.settings import WorkerSettings
from workers.tasks import register
from workers.wiring import open_toolbox


def main() -> None:
    """Work until SIGTERM; jobs in progress are finished first.

    Raises:
        InvalidSettingsError: A setting is missing or wrong.
        CatalogueUnavailableError, IndexUnavailableError, EmbedderUnavailableError: A part does not open.
    """
    settings = load_settings()
    set_up_logging(settings.log_level)
    require_split(settings)
    worker = WorkerSettings(concurrency=settings.workers, heartbeat_file=settings.heartbeat_file)
    with open_corpus(settings) as corpus, open_toolbox(settings, corpus, worker) as toolbox:
        app = make_app(settings.broker_url)
        queues = [f"refdesk.{name.strip()}" for name in settings.queues.split(",")]
        register(app, toolbox)
        relay = Relay(app, toolbox.jobs, worker, toolbox.schedule, toolbox.expiry)
        relay.start()
        try:
            app.worker_main(worker_arguments(queues, worker.concurrency))
        finally:
            relay.stop()


if __name__ == "__main__":
    main()
