"""The Celery application, and a worker that lives in a thread of the desk's own process."""

from __future__ import annotations

import logging
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery
from celery.concurrency.thread import TaskPool
from celery.worker import WorkController

_log = logging.getLogger(__name__)

IN_PROCESS_BROKER = "memory://"


def make_app(broker_url: str) -> Celery:
    """A Celery application that sends and takes JSON only and keeps no results: jobs are in the catalogue."""
    app = Celery("refdesk", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_log_color=False,
        broker_connection_retry_on_startup=True,
        broker_pool_limit=None,
    )
    if broker_url == IN_PROCESS_BROKER:
        app.conf.broker_transport_options = {"polling_interval": 0.01}
        logging.getLogger("kombu.connection").setLevel(logging.ERROR)  # it misses a host name every time
        app.conf.task_default_queue = f"desk-{uuid.uuid4().hex}"  # the broker is one for the whole process
    return app


class _OwnThreads(TaskPool):  # type: ignore[misc]  # celery ships no types
    """Threads that look tasks up in their own application.

    Celery looks in the thread's current application, which is otherwise one for the whole process: a second
    desk in the process (tests, commands) would run its jobs with the parts of the first.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.executor = ThreadPoolExecutor(max_workers=self.limit, initializer=self.app.set_current)


class InProcessWorker:
    """A Celery worker with a pool of threads, for a desk that is one process."""

    def __init__(self, app: Celery, *, concurrency: int) -> None:
        """Take tasks of `app`, `concurrency` at a time; call `start` to begin."""
        self._worker = WorkController(
            app=app,
            pool_cls=_OwnThreads,
            concurrency=concurrency,
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
            loglevel="WARNING",
        )
        self._thread = threading.Thread(target=self._worker.start, name="celery", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the tasks in progress, then end."""
        self._worker.stop()
        self._thread.join(timeout=10)
