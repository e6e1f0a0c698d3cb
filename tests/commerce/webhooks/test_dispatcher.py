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
from django.utils import timezone

from aggregator.ledger import inserted_rows
from aggregator.ledger.errors import Outage
from aggregator.models import TradingSignal
from aggregator.postgres.pool import close_idle_connections
from commerce import feed
from commerce.entitlements import scope
from commerce.models import Attempt, Endpoint, Message, Subscription
from commerce.webhooks import http_client
from commerce.webhooks.attempts import CLAIM_TIMEOUT, record_attempt
from commerce.webhooks.dispatcher import MAX_REQUESTS, Dispatcher, claim_due
from commerce.webhooks.http_client import AttemptResult
from commerce.webhooks.planning import Planner
from tests.aggregator.ledger.samples import insert
from tests.commerce.webhooks.pushing import (
    answering,
    customer,
    dispatch,
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
def no_deadline(monkeypatch):
    """No request ends by its own deadline, however long the test takes."""
    monkeypatch.setattr(
        http_client, "post", functools.partial(http_client.post, timeout_s=2 * WAIT_TIMEOUT_S)
    )


@pytest.mark.usefixtures("no_deadline")
def test_endpoints_that_hang_for_the_first_time_delay_no_other_and_hold_no_connection(inbox):
    """As many of them as may hang at a time; the one that answers is the last."""
    free = threading.Event()
    with receiver() as stuck:
        stuck.answer = lambda _: Answering(before=free.wait)
        owner = customer(webhooks=100)
        for number in range(MAX_REQUESTS - 1):
            endpoint(owner, stuck.url(f"/{number}"))
        endpoint(customer(), inbox.url())
        record("a", "b", "c")
        close_idle_connections()  # those of earlier tests
        runner = threading.Thread(target=dispatch)
        runner.start()
        try:
            eventually(lambda: len(inbox.received) == 3)
            eventually(lambda: len(stuck.received) == MAX_REQUESTS - 1)
            assert connections_in_use() <= 1
        finally:
            free.set()
            runner.join()
    assert ids(inbox) == ["a", "b", "c"]


def connections_in_use() -> int:
    """Of this test's database, but for the one that asks."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


@pytest.mark.usefixtures("no_deadline")
@pytest.mark.parametrize(
    "first", [answering(500), lambda _: Answering(before=lambda: time.sleep(1.1))], ids=["failed", "slow"]
)
def test_endpoints_that_failed_or_were_slow_wait_for_a_capacity_of_their_own(inbox, first):
    with receiver() as stuck:
        stuck.answer = first
        for _ in range(4):
            endpoint(customer(), stuck.url())
        record("a")
        dispatch(max_requests=4, max_slow_requests=1)
        free = threading.Event()
        stuck.answer = lambda _: Answering(before=free.wait)
        endpoint(customer(), inbox.url(), after=None)
        hurry()
        record("b")
        runner = threading.Thread(target=dispatch, kwargs={"max_requests": 1, "max_slow_requests": 1})
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
    assert Endpoint.objects.get().free_at <= timezone.now()


def test_processes_that_race_send_each_message_once(inbox, run_manage):
    boxes = [endpoint(customer(), inbox.url(f"/{number}"))[0] for number in range(4)]
    workers = [run_manage(*COMMAND, **LOCAL) for _ in range(3)]
    for batch in range(10):
        record(*[f"{batch}-{number}" for number in range(5)])
    workers[0].until(lambda: len(inbox.received) >= 200)
    assert [worker.stop() for worker in workers] == [0, 0, 0]
    got = [(request.path, json.loads(request.body)["data"]["signal_id"]) for request in inbox.received]
    assert len(got) == len(set(got)) == 200
    assert Attempt.objects.count() == 200
    assert not Message.objects.exclude(state="delivered").exists()
    for number in range(len(boxes)):
        order = [signal_id for path, signal_id in got if path == f"/{number}"]
        assert order == list(TradingSignal.objects.order_by("position").values_list("signal_id", flat=True))


def test_what_a_killed_worker_had_under_way_comes_again_by_itself(inbox, run_manage):
    """Killed between sending and recording the attempt, with no later signal."""
    endpoint(customer(), inbox.url())
    killed = threading.Event()
    inbox.answer = lambda _: Answering(before=lambda: killed.wait(60))
    record("a")
    worker = run_manage(*COMMAND, **LOCAL)
    worker.until(lambda: inbox.received)
    worker.kill()
    killed.set()
    assert dispatch() == 0
    hurry(CLAIM_TIMEOUT)
    assert dispatch() == 1
    assert ids(inbox) == ["a", "a"]
    assert len(set(message_ids(inbox))) == 1
    assert Attempt.objects.get().number == 2
    assert Message.objects.get().state == "delivered"


def test_a_worker_that_outlived_its_claim_changes_nothing_of_the_next_one(inbox):
    endpoint(customer(), inbox.url())
    record("a")
    Planner().run()
    [[late], _] = claim_due(10, slow=False)
    assert claim_due(10, slow=False) == ([], 0)
    hurry(CLAIM_TIMEOUT)
    [[current], _] = claim_due(10, slow=False)
    assert (late.message.pk, current.message.pk) == (current.message.pk, late.message.pk)
    record_attempt(late, AttemptResult(200))
    assert Message.objects.get().state == "waiting"
    assert claim_due(10, slow=False) == ([], 0)
    record_attempt(current, AttemptResult(204))
    assert Message.objects.get().state == "delivered"
    assert list(Attempt.objects.values_list("number", "status")) == [(1, 200), (2, 204)]


def test_what_ended_while_the_database_was_away_is_recorded_when_it_is_back(inbox, postgres_server):
    endpoint(customer(), inbox.url())
    held = threading.Event()
    inbox.answer = lambda _: Answering(before=lambda: held.wait(60))
    record("a")
    dispatcher = Dispatcher()
    eventually(lambda: (dispatcher.run_once(wait=True), inbox.received)[1])
    postgres_server.stop()
    held.set()
    for _ in range(3):
        with pytest.raises(Outage):
            dispatcher.run_once(wait=True)
    postgres_server.start()
    eventually(lambda: (dispatcher.run_once(wait=True), Message.objects.get().state == "delivered")[1])
    dispatcher.close()
    assert ids(inbox) == ["a"]
    assert Attempt.objects.get().number == 1


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
            recorder = threading.Thread(target=record_apart, args=[f"{round_}-{n}" for n in range(25)])
            recorder.start()
            recorder.join()
            before = len(inbox.received)
            worker.until(lambda before=before: len(inbox.received) > before + 10)
        inserted_rows.record_inserted_rows(10)
        worker.process.send_signal(signals.SIGKILL)
        worker.wait()
        hurry(CLAIM_TIMEOUT)
    worker = run_manage(*COMMAND, **LOCAL)
    everything = set(TradingSignal.objects.values_list("signal_id", flat=True))
    assert len(everything) == 78
    expected = {(path, signal_id) for path in owners for signal_id in everything}
    worker.until(lambda: arrived(inbox) == expected)
    assert worker.stop() == 0
    assert {row.signal_id for row in feed_of(owners["/now"])} == everything
    assert len(set(message_ids(inbox))) == 2 * 78
    assert len(inbox.received) <= 2 * 78 + 2 * 3


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
    assert Endpoint.objects.get().free_at <= timezone.now()
