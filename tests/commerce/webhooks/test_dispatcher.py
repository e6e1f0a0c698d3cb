"""Workers: many at once, beside endpoints that hang, killed, stopped, inside Celery."""

from __future__ import annotations

import functools
import json
import signal as signals
import sys
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F

from aggregator.ledger import inserted_rows
from aggregator.models import TradingSignal
from commerce import feed
from commerce.entitlements import scope
from commerce.models import Attempt, Endpoint, Message, Subscription
from commerce.webhooks import claims, http_client
from commerce.webhooks.dispatcher import THREADS
from tests.aggregator.ledger.samples import insert
from tests.commerce.webhooks.pushing import (
    answering,
    customer,
    deliver,
    endpoint,
    hurry,
    ids,
    message_ids,
    record,
)
from tests.commerce.webhooks.receiver import Answering, receiver
from tests.servers import WAIT_TIMEOUT_S, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]


@pytest.fixture
def patient(monkeypatch):
    """No request ends by its own deadline, however long the test takes."""
    monkeypatch.setattr(
        http_client, "post", functools.partial(http_client.post, timeout_s=2 * WAIT_TIMEOUT_S)
    )


@pytest.mark.usefixtures("patient")
def test_endpoints_that_hang_delay_nobody_else(inbox):
    """More of them than the worker has threads for, and none has failed before; the good one is the last."""
    free = threading.Event()
    with receiver() as stuck:
        stuck.answer = lambda _: Answering(before=free.wait)
        owner = customer(webhooks=100)
        for number in range(20):
            endpoint(owner, stuck.url(f"/{number}"))
        endpoint(customer(), inbox.url())
        record("a", "b", "c")
        runner = threading.Thread(target=deliver)
        runner.start()
        try:
            eventually(lambda: len(inbox.received) == 3)
            assert len(stuck.received) > THREADS
            eventually(lambda: connections_in_use() < THREADS / 2)
        finally:
            free.set()
            runner.join()
    assert ids(inbox) == ["a", "b", "c"]


def connections_in_use() -> int:
    """Of this test's database, but for the one that asks."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


@pytest.mark.usefixtures("patient")
def test_hanging_endpoints_beyond_all_threads_leave_a_thread_to_those_that_answer(inbox):
    """Once an endpoint has failed it waits for other threads than those of the endpoints that answer."""
    with receiver() as stuck:
        stuck.answer = answering(500)
        for _ in range(4):
            endpoint(customer(), stuck.url())
        record("a")
        deliver(threads=1, failing_threads=1)
        free = threading.Event()
        stuck.answer = lambda _: Answering(before=free.wait)
        endpoint(customer(), inbox.url(), after=None)
        hurry()
        record("b")
        runner = threading.Thread(target=deliver, kwargs={"threads": 1, "failing_threads": 1})
        runner.start()
        try:
            eventually(lambda: inbox.received)
        finally:
            free.set()
            runner.join()
    assert ids(inbox) == ["b"]


COMMAND = ("run_worker", "--only", "webhooks")
LOCAL = {"DJANGO_DEBUG": "1", "CORE_DELIVERY_NETWORKS": "127.0.0.0/8"}


def test_a_celery_worker_delivers_without_beat_and_ends_after_the_request_under_way(
    inbox, run_program, redis_client
):
    endpoint(customer(), inbox.url())
    held = threading.Event()
    inbox.answer = lambda _: Answering(before=lambda: held.wait(60))
    record(*[f"s{number}" for number in range(60)])
    options = ["--pool", "threads", "--concurrency", "2"]
    worker = run_program([sys.executable, "-m", "celery", "-A", "config", "worker", *options], **LOCAL)
    worker.until(lambda: inbox.received)
    worker.process.terminate()
    worker.until(lambda: "Warm shutdown" in worker.text)
    held.set()
    assert worker.wait() == 0
    assert 1 <= len(inbox.received) < 60
    assert Message.objects.filter(state="delivered").count() == len(inbox.received)
    assert Endpoint.objects.get().lease is None


def test_processes_that_race_send_each_delivery_once(inbox, run_manage):
    boxes = [endpoint(customer(), inbox.url(f"/{number}"))[0] for number in range(4)]
    workers = [run_manage(*COMMAND, **LOCAL) for _ in range(3)]
    for batch in range(10):
        record(*[f"{batch}-{number}" for number in range(10)])
    workers[0].until(lambda: len(inbox.received) >= 400)
    assert [worker.stop() for worker in workers] == [0, 0, 0]
    got = [(request.path, json.loads(request.body)["data"]["signal_id"]) for request in inbox.received]
    assert len(got) == len(set(got)) == 400
    assert Attempt.objects.count() == 400
    assert not Message.objects.exclude(state="delivered").exists()
    for number in range(len(boxes)):
        order = [signal_id for path, signal_id in got if path == f"/{number}"]
        assert order == list(TradingSignal.objects.order_by("position").values_list("signal_id", flat=True))


def test_what_a_killed_worker_had_under_way_comes_again_by_itself(inbox, run_manage):
    """Killed between sending and noting it, with nothing recorded later that would wake the endpoint."""
    endpoint(customer(), inbox.url())
    killed = threading.Event()
    inbox.answer = lambda _: Answering(before=lambda: killed.wait(60))
    record("a")
    worker = run_manage(*COMMAND, **LOCAL)
    worker.until(lambda: inbox.received)
    worker.kill()
    killed.set()
    assert deliver() == 0
    let_leases_run_out()
    assert deliver() == 1
    assert ids(inbox) == ["a", "a"]
    assert len(set(message_ids(inbox))) == 1
    assert Attempt.objects.get().number == 2
    assert Message.objects.get().state == "delivered"


def let_leases_run_out() -> None:
    hurry(claims.LEASE)
    Endpoint.objects.update(leased_until=F("leased_until") - claims.LEASE)


def test_workers_killed_at_random_lose_nothing(inbox, run_manage):
    """At least once, at once and delayed, while agents hold transactions open: what a killed worker had sent
    may come again, under the id that it had."""
    owners = {"/now": customer(), "/late": customer(delay=timedelta(seconds=1))}
    for path, owner in owners.items():
        endpoint(owner, inbox.url(path))
    inbox.answer = lambda _: Answering(before=lambda: time.sleep(0.005))
    for round_ in range(3):
        with transaction.atomic(), connection.cursor() as agent:
            insert(agent, f"agent-{round_}")
            worker = run_manage(*COMMAND, **LOCAL)
            recorder = threading.Thread(target=record_apart, args=[f"{round_}-{n}" for n in range(40)])
            recorder.start()
            recorder.join()
            before = len(inbox.received)
            worker.until(lambda before=before: len(inbox.received) > before + 10)
        inserted_rows.record_inserted_rows(10)
        worker.process.send_signal(signals.SIGKILL)
        worker.wait()
        let_leases_run_out()
    worker = run_manage(*COMMAND, **LOCAL)
    everything = set(TradingSignal.objects.values_list("signal_id", flat=True))
    assert len(everything) == 123
    expected = {(path, signal_id) for path in owners for signal_id in everything}
    worker.until(lambda: arrived(inbox) == expected)
    assert worker.stop() == 0
    assert {row.signal_id for row in feed_of(owners["/now"])} == everything
    assert len(set(message_ids(inbox))) == 2 * 123
    assert len(inbox.received) <= 2 * 123 + 2 * 3


def arrived(inbox) -> set[tuple[str, str]]:
    return {(request.path, json.loads(request.body)["data"]["signal_id"]) for request in list(inbox.received)}


def record_apart(*signal_ids: str) -> None:
    """Record in a thread, over its own connection."""
    record(*signal_ids)
    connection.close()


def feed_of(owner) -> list[TradingSignal]:
    plan = Subscription.objects.get(customer=owner).plan
    return feed.read(scope(plan), feed.NO_FILTERS, 0, 500).signals


def test_the_command_ends_on_sigterm_after_the_request_under_way(inbox, run_manage):
    endpoint(customer(), inbox.url())
    held = threading.Event()
    inbox.answer = lambda _: Answering(before=lambda: held.wait(60))
    record(*[f"s{number}" for number in range(60)])
    worker = run_manage(*COMMAND, **LOCAL)
    worker.until(lambda: inbox.received)
    worker.process.terminate()
    held.set()
    assert worker.wait() == 0
    assert 1 <= len(inbox.received) < 60
    assert Message.objects.filter(state="delivered").count() == len(inbox.received)
    assert Endpoint.objects.get().lease is None
