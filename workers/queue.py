"""The Celery application, and a worker that lives in a thread of the desk's own process.

The broker is the wake-up and nothing more: a message holds one job id, and what becomes of the job is in the
catalogue. So a lost message is sent again and a doubled one does nothing; what the broker promises on top
(quorum queues, confirms, late acknowledgement) makes both rare.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery
from celery.concurrency.thread import TaskPool
from celery.worker import WorkController
from kombu import Exchange, Queue

from retrieval.jobs import TASK_NAMES, JobKind

IN_PROCESS_BROKER = "memory://"

QUEUES = {
    JobKind.INDEX: "index",
    JobKind.SYNC: "sync",
    JobKind.RECONCILE: "maintenance",
    JobKind.REBUILD: "maintenance",
}
"""Queue by kind of job: a long sync never stands in the way of documents."""

URGENT = "urgent"
"""Queue beside them for what people asked for and for what was cut off: it passes by a long queue."""

MESSAGE_LIFE_S = 6 * 3600
"""A message that nobody took for so long is dropped; the job is still in the catalogue and is sent again.

Also for how long Redis waits before it gives a taken message to another worker: longer than any task, because
leases in the catalogue bring lost work back within a minute.
"""

_DELIVERIES = 20
_CONFIRM_S = 10
_DEAD_QUEUE = "refdesk.dead"
_DEAD_LIFE_MS = 7 * 24 * 3600 * 1000
_DEAD_KEPT = 10_000


def make_app(broker_url: str) -> Celery:
    """A Celery application that sends and takes JSON only and keeps no results: jobs are in the catalogue."""
    app = Celery("refdesk", broker=broker_url, set_as_current=False)
    is_here = broker_url == IN_PROCESS_BROKER
    # The in-memory broker is one for the whole process: each desk in it has queues of its own.
    prefix = f"desk-{uuid.uuid4().hex}" if is_here else "refdesk"
    is_amqp = broker_url.startswith(("amqp", "pyamqp"))
    queues = {name: _queue(f"{prefix}.{name}", is_amqp=is_amqp) for name in dict.fromkeys(QUEUES.values())}
    urgent = _queue(f"{prefix}.{URGENT}", is_amqp=is_amqp)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_publish_retry=False,  # the outbox keeps what was not sent, and the relay tries again
        task_queues=[urgent, *queues.values()],
        task_routes={TASK_NAMES[kind]: {"queue": queues[name].name} for kind, name in QUEUES.items()},
        task_default_queue=queues[QUEUES[JobKind.INDEX]].name,
        task_default_exchange="",
        task_create_missing_queues=False,
        worker_prefetch_multiplier=1,
        # Redis gives a message that a dead worker held back only after hours: take no more than can be run.
        worker_disable_prefetch=broker_url.startswith("redis"),
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_log_color=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # leases say who works, not the connection
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=None,
        broker_transport_options=_transport_options(broker_url),
    )
    if is_here:
        logging.getLogger("kombu.connection").setLevel(logging.ERROR)  # it misses a host name every time
    return app


def worker_arguments(queues: Sequence[str], concurrency: int) -> list[str]:
    """The command line of a Celery worker that takes tasks from these queues and listens to nothing else."""
    return [
        "worker",
        "--pool=threads",
        f"--concurrency={concurrency}",
        f"--queues={','.join(queues)}",
        "--without-mingle",
        "--without-gossip",
    ]


def urgent_queue(app: Celery) -> str:
    """Name of the application's queue for urgent tasks of every kind."""
    return str(app.conf.task_queues[0].name)


def dead_letters() -> Queue:
    """RabbitMQ's queue for messages that were given out too often; for operators to look at."""
    limits = {"x-queue-type": "quorum", "x-message-ttl": _DEAD_LIFE_MS, "x-max-length": _DEAD_KEPT}
    return Queue(_DEAD_QUEUE, Exchange(""), routing_key=_DEAD_QUEUE, durable=True, queue_arguments=limits)


def _queue(name: str, *, is_amqp: bool) -> Queue:
    """A queue on the default exchange: there is no binding that could be lost or has to be made first."""
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": _DELIVERIES,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": _DEAD_QUEUE,
    }
    return Queue(
        name, Exchange(""), routing_key=name, durable=True, queue_arguments=arguments if is_amqp else None
    )


def _transport_options(broker_url: str) -> dict[str, Any]:
    if broker_url == IN_PROCESS_BROKER:
        return {"polling_interval": 0.01}
    if broker_url.startswith("redis"):
        return {
            "visibility_timeout": MESSAGE_LIFE_S,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        }
    return {"confirm_publish": True, "connect_timeout": 5, "read_timeout": 30, "write_timeout": _CONFIRM_S}


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
