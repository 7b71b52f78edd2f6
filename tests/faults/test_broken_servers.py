"""Servers die in the middle of work: the broker forgets everything, the catalogue and the index are killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from kombu import Connection

from tests.conftest import skip_without
from tests.faults.rig import ROOT, Rig, open_rig
from tests.services import servers
from workers.queue import make_app

N_WIPES = int(os.environ.get("REFDESK_FAULT_WIPES", "2"))
SEED = int(os.environ.get("REFDESK_FAULT_SEED", "20261124"))
BROKERS = os.environ.get("REFDESK_FAULT_BROKER", "redis,rabbitmq").split(",")
LEASE_S = 5.0

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.timeout(600 + 120 * N_WIPES)]


@pytest.mark.parametrize("broker", BROKERS)
def test_wiped_broker_heals(broker: str, tmp_path: Path, say: Callable[[str], None]) -> None:
    """Every message is lost, several times in the middle of work: all of it is done within five minutes."""
    skip_without("postgres", f"{broker}-server")
    moments = random.Random(SEED)
    with open_rig(tmp_path / "rig", broker, seed=SEED, lease_s=LEASE_S) as rig:
        rig.docs.write(150)
        for _ in range(2):
            rig.start_worker()
        for number in range(N_WIPES):
            rig.docs.change(updates=100, deletions=4, returns=4)
            rig.sync()
            _wait_until_waiting(rig, broker, moments.randint(1, 60))
            waiting = _wipe(rig, broker)
            assert rig.jobs.unfinished()
            healed_s = rig.wait_until_idle(300)
            say(f"{broker}: wipe {number + 1}/{N_WIPES} of {waiting} messages, healed in {healed_s:.1f} s")
        rig.sync()
        rig.wait_until_idle(300)
        assert rig.faults() == {}


def test_killed_catalogue_is_a_503_and_then_normal(tmp_path: Path) -> None:
    """PostgreSQL is killed while documents come in: the desk says 503, then works; nothing is lost."""
    skip_without("postgres", "redis-server")
    with open_rig(tmp_path / "rig", "redis", seed=SEED, lease_s=LEASE_S) as rig:
        rig.docs.write(60)
        rig.sync()
        rig.start_worker()
        port = servers.free_port()
        desk = _desk(rig, port)
        try:
            _wait_for(port, 200)
            rig.postgres.kill()
            assert _status(port) == 503
            time.sleep(3)
            assert _status(port) == 503
            rig.postgres.start()
            _wait_for(port, 200)
        finally:
            servers.kill_tree(desk.pid)
            desk.wait()
        rig.wait_until_idle(180)
        rig.sync()
        rig.wait_until_idle(60)
        assert rig.faults() == {}


def test_killed_and_damaged_index_is_filled_again(tmp_path: Path) -> None:
    """The index is killed in the middle of writes, then its files are damaged: it ends equal to the catalogue."""
    skip_without("postgres", "redis-server")
    with open_rig(tmp_path / "rig", "redis", seed=SEED, lease_s=LEASE_S) as rig:
        rig.docs.write(40)
        rig.sync()
        rig.start_worker()
        while not rig.rows("select 1 from documents where state = 'live'"):
            time.sleep(0.1)
        rig.index.kill()
        rig.index.start()
        rig.docs.change(updates=20, deletions=2, returns=0)
        rig.sync()
        time.sleep(1)
        rig.index.kill()
        _damage(rig.index.folder / "storage", random.Random(SEED))
        rig.index.start()
        rig.wait_until_idle(240)
        rig.docs.change(updates=5, deletions=0, returns=0)  # work that meets the lost collection, if none has
        rig.sync()
        rig.wait_until_idle(240)
        rig.reconcile()
        rig.wait_until_idle(120)
        assert rig.faults() == {}


def _wait_until_waiting(rig: Rig, broker: str, n_messages: int) -> None:
    """Return once so many messages wait in the queues, or fewer when that many never do."""
    best_until = time.monotonic() + 5
    while (waiting := _waiting(rig, broker)) < n_messages:
        if waiting and time.monotonic() > best_until:
            return
        assert time.monotonic() < best_until + 60, "no message ever waits"
        time.sleep(0.02)


def _waiting(rig: Rig, broker: str) -> int:
    """Messages that no worker has taken yet."""
    with Connection(rig.broker.url) as connection:
        channel, queues = connection.default_channel, make_app(rig.broker.url).conf.task_queues
        if broker == "redis":
            return sum(channel.client.llen(queue.name) for queue in queues)
        return sum(queue(channel).queue_declare().message_count for queue in queues)


def _wipe(rig: Rig, broker: str) -> int:
    """Drop all that the broker holds; gives the number of messages that were waiting."""
    waiting = _waiting(rig, broker)
    with Connection(rig.broker.url) as connection:
        if broker == "redis":
            connection.default_channel.client.flushall()
        else:
            for queue in make_app(rig.broker.url).conf.task_queues:
                queue(connection.default_channel).delete()
    return waiting


def _damage(folder: Path, chance: random.Random) -> None:
    """Overwrite the beginning of every file of the index."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size:
            with path.open("r+b") as file:
                file.write(chance.randbytes(min(path.stat().st_size, 4096)))


def _desk(rig: Rig, port: int) -> subprocess.Popen[bytes]:
    """The query service of the split desk, as an operator starts it behind a proxy that names users."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "REFDESK_DATA": rig.orders.data,
        "REFDESK_CATALOGUE_URL": rig.postgres.url,
        "REFDESK_BROKER_URL": rig.broker.url,
        "REFDESK_INDEX_URL": rig.index.url,
        "REFDESK_IDENTITY": "proxy",
        "REFDESK_PROXY_ADDRESSES": "127.0.0.1",
    }
    log = (rig.folder / "desk.log").open("wb")
    command = [sys.executable, "-m", "uvicorn", "--factory", "serving.app:create", "--port", str(port)]
    with log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, cwd=ROOT, env=environment, start_new_session=True
        )


def _status(port: int) -> int:
    """Status of a request that needs the catalogue; 0 while nothing listens."""
    headers = {"X-Forwarded-User": "olga"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/sources", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _wait_for(port: int, status: int) -> None:
    ends_at = time.monotonic() + 120
    while (found := _status(port)) != status:
        assert time.monotonic() < ends_at, f"status {found} instead of {status}"
        time.sleep(0.3)
