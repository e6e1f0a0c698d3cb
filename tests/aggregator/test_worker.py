"""`manage.py run_worker` and the Celery worker: outages, crashes and stops, with real processes."""

import itertools
import os
import sys
import threading
import time

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from aggregator.health.checks import Status
from aggregator.health.program_checks import WorkerCheck
from aggregator.health.runner import CheckRunner
from aggregator.ingest.streams import GROUP
from aggregator.models import DeadLetter, Sighting, TradingSignal
from tests.aggregator.ledger.samples import insert, raw, rows
from tests.commerce.webhooks.pushing import customer, endpoint, local, record
from tests.commerce.webhooks.pushing import ids as arrived
from tests.commerce.webhooks.receiver import receiver
from tests.servers import SERVERS, manage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])

STREAM = "core_signals:signals"
OUTAGE_S = float(os.environ.get("WORKER_OUTAGE_S") or 0)
"""How long servers stay away beyond what is waited for; a minute takes the same path, and longer."""
LOCAL = {"DJANGO_DEBUG": "1", "CORE_DELIVERY_NETWORKS": "127.0.0.0/8"}
CELERY = [sys.executable, "-m", "celery", "-A", "config", "worker", "--pool", "threads", "--concurrency", "1"]
HOSTS = pytest.mark.parametrize("command", [manage("run_worker"), CELERY], ids=["run_worker", "celery"])


@pytest.fixture
def inbox(settings):
    """A customer's receiver."""
    local(settings)
    with receiver() as server:
        yield server


@pytest.fixture
def own_redis():
    if SERVERS.redis is None:
        pytest.skip("the Redis of CORE_TEST_REDIS_URL is not ours to stop")
    yield SERVERS.redis
    SERVERS.redis.start()


@pytest.fixture
def faulty(run_program, tmp_path):
    """Start a host, and return what makes its loops crash: `program, crash = faulty(command)`."""
    file = tmp_path / "faults"
    file.write_text("")

    def start(command):
        variables = {"DJANGO_SETTINGS_MODULE": "tests.aggregator.faulty_loops", "FAULTS": str(file)}
        program = run_program(command, **LOCAL, **variables)
        program.until(lambda: hosted() or None, what="the states of the loops")
        return program, lambda *names: file.write_text(" ".join(names))

    return start


def hosted():
    return {name for (name,) in rows("SELECT loop FROM worker_loops")}


def check():
    (found,) = CheckRunner([WorkerCheck(list(settings.WORKER_LOOPS))]).run_all()
    return found


def insert_one(environment, signal_id):
    with psycopg.connect(environment["CORE_DB_URL"]) as agent:
        insert(agent.cursor(), signal_id)


def recorded():
    return set(TradingSignal.objects.exclude(position=None).values_list("signal_id", flat=True))


def pending(redis_client):
    return redis_client.xpending(STREAM, GROUP)["pending"]


@HOSTS
def test_while_redis_is_away_rows_are_recorded_and_webhooks_sent(
    command, run_program, program_environment, redis_client, own_redis, inbox
):
    endpoint(customer(), inbox.url())
    worker = run_program(command, **LOCAL)
    redis_client.xadd(STREAM, {"payload": raw("streamed-before")})
    worker.until(lambda: "streamed-before" in recorded())
    own_redis.stop()
    worker.until(lambda: "loop=streams outage" in worker.text)
    time.sleep(OUTAGE_S)
    insert_one(program_environment, "inserted-meanwhile")
    worker.until(lambda: "inserted-meanwhile" in arrived(inbox))
    own_redis.start()
    redis_client.xadd(STREAM, {"payload": raw("streamed-after")})
    everything = ["streamed-before", "inserted-meanwhile", "streamed-after"]
    worker.until(lambda: arrived(inbox) == everything)
    assert recorded() == {*everything}
    assert worker.text.count("loop=streams outage") == worker.text.count("loop=streams goes on") == 1
    assert pending(redis_client) == 0
    assert worker.stop() == 0
    assert not DeadLetter.objects.filter(code="delivered_too_often").exists()


@HOSTS
def test_a_worker_that_is_started_while_redis_is_away_does_what_needs_none(
    command, run_program, program_environment, redis_client, own_redis
):
    own_redis.stop()
    worker = run_program(command)
    insert_one(program_environment, "inserted")
    worker.until(lambda: "inserted" in recorded())
    own_redis.start()
    redis_client.xadd(STREAM, {"payload": raw("streamed")})
    worker.until(lambda: "streamed" in recorded())
    assert worker.stop() == 0


@HOSTS
def test_all_loops_wait_while_postgres_is_away(
    command, run_program, program_environment, postgres_server, redis_client, inbox
):
    worker = run_program(command, **LOCAL)
    redis_client.xadd(STREAM, {"payload": raw("before")})
    worker.until(lambda: recorded() == {"before"})
    postgres_server.stop()
    redis_client.xadd(STREAM, {"payload": raw("meanwhile")})
    for loop in ("streams", "databases:default", "webhooks"):
        worker.until(lambda loop=loop: f"loop={loop} outage" in worker.text, what=loop)
    time.sleep(OUTAGE_S)
    postgres_server.start()
    connection.close()
    insert_one(program_environment, "after")
    worker.until(lambda: recorded() == {"before", "meanwhile", "after"})
    endpoint(customer(), inbox.url())
    worker.until(lambda: {*arrived(inbox)} == {"before", "meanwhile", "after"})
    worker.until(lambda: pending(redis_client) == 0)
    assert worker.stop() == 0
    assert "crashed" not in worker.text
    assert not DeadLetter.objects.exists()


def test_each_loop_that_crashes_is_replaced_and_reported(faulty, redis_client, program_environment):
    worker, crash = faulty(manage("run_worker"))
    loops = sorted(settings.WORKER_LOOPS)
    for loop in loops:
        crash(loop)
        worker.until(lambda loop=loop: f"loop={loop} crashed" in worker.text, what=loop)
        crash()
    worker.until(lambda: all(loop in check().detail for loop in loops))
    assert (check().status, check().summary) == (Status.DEGRADED, "crashing")
    assert "crashed 1 times (ZeroDivisionError): restarting" in check().detail
    insert_one(program_environment, "inserted")
    redis_client.xadd(STREAM, {"payload": raw("streamed")})
    worker.until(lambda: recorded() == {"inserted", "streamed"})
    assert worker.stop() == 0


@HOSTS
def test_a_loop_that_keeps_crashing_ends_the_process_with_status_1(command, faulty, redis_client):
    worker, crash = faulty(command)
    crash("databases:default")
    worker.until(lambda: check().summary == "crashing")
    redis_client.xadd(STREAM, {"payload": raw("streamed")})
    assert worker.wait() == 1
    assert "databases:default crashed 5 times, the last time with ZeroDivisionError" in worker.text
    assert worker.text.count("loop=databases:default crashed") == 5
    assert recorded() == {"streamed"}, "the other loops go on until the end"
    assert pending(redis_client) == 0


class Load:
    """Writes to the stream and into the table until it is stopped; `sent` holds the ids."""

    def __init__(self, environment, redis_client):
        self.environment, self.redis = environment, redis_client
        self.sent = set()
        self.done = threading.Event()
        self.threads = [threading.Thread(target=each) for each in (self.stream, self.insert)]
        for thread in self.threads:
            thread.start()

    def stream(self):
        for batch in itertools.count():
            if self.done.wait(0.05):
                return
            names = [f"streamed-{batch}-{number}" for number in range(50)]
            pipeline = self.redis.pipeline()
            for name in names:
                pipeline.xadd(STREAM, {"payload": raw(name)})
            pipeline.execute()
            self.sent.update(names)

    def insert(self):
        with psycopg.connect(self.environment["CORE_DB_URL"], autocommit=True) as agent:
            for number in itertools.count():
                if self.done.wait(0.005):
                    return
                insert(agent.cursor(), f"inserted-{number}")
                self.sent.add(f"inserted-{number}")

    def stop(self):
        self.done.set()
        for thread in self.threads:
            thread.join()


@HOSTS
def test_sigterm_under_load_loses_nothing_and_repeats_nothing(
    command, run_program, program_environment, redis_client
):
    first = run_program(command)
    first.until(lambda: "EventBus" in first.text)
    load = Load(program_environment, redis_client)
    first.until(lambda: {name.partition("-")[0] for name in recorded()} == {"streamed", "inserted"})
    assert first.stop() == 0
    load.stop()
    assert "Traceback" not in first.text
    assert pending(redis_client) == 0, "what was read is acknowledged"
    left = load.sent - recorded()
    assert left, "the load went on after the stop"
    second = run_program(command)
    second.until(lambda: recorded() == load.sent)
    assert second.stop() == 0
    assert TradingSignal.objects.count() == len(load.sent)
    assert not Sighting.objects.exists(), "no entry was recorded twice"


def test_only_what_is_named_runs(run_manage, redis_client, program_environment):
    redis_client.xadd(STREAM, {"payload": raw("streamed")})
    insert_one(program_environment, "inserted")
    program = run_manage("run_worker", "--only", "databases, streams", "--once")
    assert program.wait() == 0
    assert "streams 1, databases:default 1, databases:forex 0" in program.text
    assert hosted() == set(), "a loop that was run once is not expected to go on"


def test_an_unknown_name_is_refused_with_those_that_there_are(run_manage):
    program = run_manage("run_worker", "--only", "stream,alerts")
    assert program.wait() == 1
    assert program.text.startswith("CommandError: no loop is called stream; there are streams, databases, ")
    assert program.text.count("\n") == 1


def test_without_redis_there_is_no_loop_for_streams(run_manage):
    program = run_manage("run_worker", "--only", "streams", CORE_REDIS_URL="")
    assert program.wait() == 1
    assert "no loop is called streams; there are databases, " in program.text


def test_once_does_all_that_is_due_and_exits(run_manage, redis_client, program_environment, inbox):
    endpoint(customer(), inbox.url())
    record("recorded")
    redis_client.xadd(STREAM, {"payload": raw("streamed")})
    insert_one(program_environment, "inserted")
    program = run_manage("run_worker", "--once", **LOCAL)
    assert program.wait() == 0, program.text
    assert recorded() == {"recorded", "streamed", "inserted"}
    assert "recorded" in arrived(inbox)


def test_what_waiting_cannot_repair_ends_the_worker_in_one_line(run_manage, redis_client):
    redis_client.set(STREAM, "no stream")
    program = run_manage("run_worker")
    assert program.wait() == 1
    refusal = "CommandError: streams: Redis refuses: WRONGTYPE Operation against a key holding the wrong kind"
    assert program.text.splitlines()[-1].startswith(refusal)
    assert "Traceback" not in program.text


def test_a_loop_that_waits_for_an_outage_to_end_is_reported(monkeypatch, run_manage, redis_client, own_redis):
    monkeypatch.setattr("aggregator.health.program_checks.STALLED_S", 0.5)
    worker = run_manage("run_worker", "--only", "streams")
    worker.until(hosted)
    own_redis.stop()
    worker.until(lambda: "outage: ConnectionError" in check().detail)
    own_redis.start()
    assert worker.stop() == 0
