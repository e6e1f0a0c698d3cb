"""A disk that is full: `/health` says so, no signal is lost, and all goes on when there is space again."""

import subprocess
from contextlib import contextmanager, suppress

import psycopg
import pytest
import requests

from config.local import Postgres
from tests.aggregator.ingest.senders import as_bytes, standard, wire
from tests.aggregator.ledger.samples import raw
from tests.aggregator.test_worker import STREAM, pending
from tests.servers import eventually, manage, serve, web
from tests.temporary_home import temporary_home

MANY = 300
PADDING = {"raw_payload": {"reason": "x" * 1500}}
"""Too short to be compressed, long enough for a page to hold few."""


@pytest.fixture
def disk():
    """A small file system of its own."""
    with temporary_home() as home:
        place = home / "disk"
        place.mkdir()
        mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=200m,mode=0711", "tmpfs", str(place)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("mounting a file system takes root's rights")
        yield place
        subprocess.run(["/bin/umount", "--lazy", str(place)], check=True)


@contextmanager
def filled(disk):
    """Leave no byte free."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as filler:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while filler.write(b"0" * size):
                    pass
    yield
    file.unlink()


@pytest.fixture
def hub(disk, run_program, free_port, redis_client):
    """A hub whose data is on that disk: its URL, its worker, its Postgres, and what runs commands."""
    with Postgres(disk / "data", durable=False) as server:
        database = server.create_database("hub")
        variables = {
            "CORE_DB_URL": database,
            "CORE_FOREX_DB_URL": "",
            "CORE_LOG_DIR": str(disk / "log"),
            "AGG_SIGNAL_ENDPOINT": "https://hub.example.com/api/signals",
        }

        def command(*arguments):
            program = run_program(manage(*arguments), **variables)
            assert program.wait() == 0, program.text
            return program.text

        command("migrate")
        command("transparency", "init")
        worker = run_program(manage("run_worker"), **variables)
        yield serve(run_program, web, free_port, **variables), worker, server, command


def post(url, signal_id):
    body = as_bytes(wire(signal_id, **PADDING))
    headers = standard(body) | {"Content-Type": "application/json"}
    return requests.post(f"{url}/api/signals", body, headers=headers, timeout=60).status_code


def health(url):
    answer = requests.get(f"{url}/health", timeout=60)
    return answer.status_code, answer.json()["checks"]


def recorded(server):
    with psycopg.connect(server.url("hub")) as connection:
        found = connection.execute("SELECT signal_id FROM trading_signals WHERE position IS NOT NULL")
        return {signal_id for (signal_id,) in found}


def sealed(server):
    with psycopg.connect(server.url("hub")) as connection:
        return connection.execute("SELECT checkpoint_size FROM transparency_log").fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_on_a_full_disk_and_health_says_so(disk, hub, redis_client):
    url, worker, server, command = hub
    acknowledged = {f"first-{number}" for number in range(3) if post(url, f"first-{number}") == 202}
    worker.until(lambda: sealed(server) == len(acknowledged) == 3, what="the first are sealed")
    streamed = {f"streamed-{number}" for number in range(MANY)}
    with filled(disk):
        statuses = [post(url, f"posted-{number}") for number in range(MANY)]
        assert set(statuses) == {202, 503}, "those that the last page takes, then none"
        acknowledged |= {f"posted-{number}" for number in range(MANY) if statuses[number] == 202}
        for signal_id in streamed:
            redis_client.xadd(STREAM, {"payload": raw(signal_id, **PADDING)})
        worker.until(lambda: "loop=streams outage" in worker.text, what="the stream waits")
        _, checks = eventually(lambda: (found := health(url))[0] == 503 and found, what="health")
        assert (checks["database"]["status"], checks["database"]["detail"]) == (
            "failed",
            "cannot record signals",
        )
        assert acknowledged <= recorded(server)
    expected = acknowledged | streamed
    worker.until(lambda: recorded(server) == expected, what="what waited is recorded")
    worker.until(lambda: pending(redis_client) == 0, what="and acknowledged")
    assert post(url, "last") == 202
    worker.until(lambda: sealed(server) == len(expected) + 1, what="all are sealed")
    eventually(lambda: health(url)[1]["database"]["status"] == "ok")
    assert str(len(expected) + 1) in command("transparency", "verify")
    assert "crashed" not in worker.text
    assert worker.stop() == 0
    with psycopg.connect(server.url("hub")) as connection:
        assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (0,)
