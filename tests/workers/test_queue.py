"""What travels through the broker: ids as JSON, in queues that outlive it where it can."""

from __future__ import annotations

import threading

from retrieval.jobs import TASK_NAMES
from workers.queue import IN_PROCESS_BROKER, MESSAGE_LIFE_S, QUEUES, InProcessWorker, make_app, urgent_queue
from workers.settings import WorkerSettings


def test_pickled_message_is_refused_and_the_worker_goes_on() -> None:
    """A message that would be unpickled is dropped unread; the next one in JSON is done."""
    app = make_app(IN_PROCESS_BROKER)
    taken: list[str] = []
    done = threading.Event()

    @app.task(name="note", shared=False)  # type: ignore[untyped-decorator]  # celery ships no types
    def note(word: str) -> None:
        taken.append(word)
        if word == "json":
            done.set()

    worker = InProcessWorker(app, concurrency=1)
    worker.start()
    for serializer in ("pickle", "yaml"):
        app.send_task("note", args=[serializer], serializer=serializer)
    app.send_task("note", args=["json"])
    assert done.wait(timeout=60)
    worker.stop()
    assert taken == ["json"]


def test_rabbitmq_queues_are_replicated_confirmed_and_bounded() -> None:
    """Quorum queues with a delivery limit and a place for dead letters; sending waits for the confirmation."""
    app = make_app("amqp://guest:guest@127.0.0.1:1//")
    for queue in app.conf.task_queues:
        assert queue.queue_arguments["x-queue-type"] == "quorum"
        assert queue.queue_arguments["x-delivery-limit"] == 20
        assert queue.queue_arguments["x-dead-letter-routing-key"] == "refdesk.dead"
    assert app.conf.broker_transport_options["confirm_publish"]


def test_redis_waits_longer_than_any_task() -> None:
    """A message is not given out a second time while its task may still run."""
    app = make_app("redis://127.0.0.1:1/0")
    assert app.conf.broker_transport_options["visibility_timeout"] == MESSAGE_LIFE_S
    limits = WorkerSettings()
    assert max(limits.document_limit_s, limits.job_limit_s) <= MESSAGE_LIFE_S


def test_each_kind_of_work_has_its_queue() -> None:
    """A sync does not stand in the way of documents, upkeep in that of neither; what is urgent passes by all."""
    app = make_app("redis://127.0.0.1:1/0")
    routed = {name: app.conf.task_routes[name]["queue"] for name in TASK_NAMES.values()}
    assert routed == {TASK_NAMES[kind]: f"refdesk.{name}" for kind, name in QUEUES.items()}
    assert len(set(routed.values())) == len(app.conf.task_queues) - 1 == 3
    assert urgent_queue(app) not in routed.values()
