"""Push: signed requests that follow the ledger, retried, recorded, and never sent by two."""

from __future__ import annotations

import gc
import json
import shutil
import signal as signals
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.core import mail
from django.db import connection, transaction
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from aggregator import consuming, ledger
from aggregator.models import TradingSignal
from commerce import feed, tasks
from commerce.deliveries import endpoints, retries
from commerce.deliveries.secrets import signing_secret
from commerce.deliveries.worker import Deliverer
from commerce.models import Attempt, Delivery, Endpoint, Plan, Subscription, UsageDay
from commerce.wire import public
from tests.aggregator.samples import insert
from tests.commerce.pushing import customer, deliver, endpoint, hurry, local, record
from tests.commerce.receiver import Answering, receiver
from tests.servers import eventually

NODE = Path(__file__).parent / "node"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _local(settings):
    local(settings)
    yield
    gc.collect()  # the connections of threads that ended lie in reference cycles


@pytest.fixture
def inbox():
    with receiver() as server:
        yield server


def ids(inbox) -> list[str]:
    """The signal ids that arrived, in order."""
    return [json.loads(request.body)["data"]["signal_id"] for request in inbox.received]


def message_ids(inbox) -> list[str]:
    return [request.headers["webhook-id"] for request in inbox.received]


def answering(status: int, **options):
    return lambda _request: Answering(status, **options)


def test_what_is_recorded_arrives_in_order_and_signed(inbox):
    owner = customer()
    _, secret = endpoint(owner, inbox.url())
    record("a", "b", "c")
    assert deliver() == 3
    assert ids(inbox) == ["a", "b", "c"]
    assert deliver() == 0
    for request in inbox.received:
        message = Webhook(secret).verify(request.body, request.headers)
        assert message["type"] == "signal.recorded"
        assert request.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(inbox.received[0].body + b" ", inbox.received[0].headers)
    assert len(set(message_ids(inbox))) == 3


def test_the_body_holds_what_the_feed_gives(inbox):
    owner = customer()
    endpoint(owner, inbox.url())
    record("a", tags=["x"], stop_loss="1.50")
    deliver()
    data = json.loads(inbox.received[0].body)["data"]
    rights = Subscription.objects.get(customer=owner).plan
    from commerce.entitlements import scope

    shown = public(TradingSignal.objects.get(), scope(rights))
    assert data["cursor"] == shown.cursor
    assert data["stop_loss"] == "1.5"
    assert "raw_payload" not in data
    assert set(data) == set(shown.__struct_fields__) - {"raw_payload"}


def test_requests_verify_with_the_npm_package(inbox):
    node = shutil.which("node")
    if not node or not (NODE / "node_modules").is_dir():
        pytest.skip("no node, or its packages are not there: `make node` installs them")
    _, secret = endpoint(customer(), inbox.url())
    record("a", "b", agent_source="Zürich „quoted“ 🚀")
    deliver()
    lines = [
        {"secret": secret, "headers": request.headers, "body": request.body.decode()}
        for request in inbox.received
    ]
    lines.append({**lines[0], "body": lines[0]["body"].replace("BUY", "SELL")})
    done = subprocess.run(
        [node, "verify.mjs"],
        cwd=NODE,
        input="\n".join(map(json.dumps, lines)),
        capture_output=True,
        text=True,
        check=True,
    )
    *good, forged = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["verified"]["data"]["signal_id"] for answer in good] == ["a", "b"]
    assert forged == {"error": "No matching signature found"}


def test_a_failure_is_tried_again_under_the_same_id_and_is_on_record(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(500, body=b"\x00" + b"x" * 5000)
    record("a")
    assert deliver() == 1
    row = Delivery.objects.get()
    assert (row.state, row.attempts) == ("waiting", 1)
    assert timedelta(seconds=4) < row.due_at - timezone.now() < timedelta(seconds=5.6)
    inbox.answer = answering(204)
    hurry()
    assert deliver() == 1
    first, second = Attempt.objects.order_by("number")
    assert (first.number, first.status, len(first.excerpt)) == (1, 500, 1024)
    assert (second.number, second.status, second.error) == (2, 204, "")
    assert len(set(message_ids(inbox))) == 1
    row.refresh_from_db()
    assert row.state == "delivered"
    assert Endpoint.objects.get().failing_since is None


def test_the_schedule_is_kept_to_its_end(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(503)
    record("a")
    waits = []
    for _ in retries.SCHEDULE:
        hurry()
        assert deliver() == 1
        row = Delivery.objects.get()
        waits.append(row.due_at - timezone.now())
    for wait, planned in zip(waits, retries.SCHEDULE[1:], strict=False):
        assert planned - timedelta(seconds=5) < wait < planned * (1 + retries.JITTER) + timedelta(seconds=1)
    assert row.state == "failed"
    hurry()
    assert deliver() == 0
    assert len(inbox.received) == 10


def test_retry_after_is_honoured(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(429, headers={"Retry-After": "3600"})
    record("a")
    deliver()
    assert Delivery.objects.get().due_at - timezone.now() > timedelta(minutes=59)


def test_410_disables_at_once_and_its_owner_is_told(inbox):
    owner = customer("owner@example.com")
    made, _ = endpoint(owner, inbox.url())
    inbox.answer = answering(410)
    record("a", "b")
    deliver()
    made.refresh_from_db()
    assert (made.state, made.notify) == ("disabled", False)
    assert len(inbox.received) == 1
    [notice] = mail.outbox
    assert notice.to == ["owner@example.com"]
    assert "410 Gone" in notice.body
    assert made.public_id in notice.body
    hurry()
    assert deliver() == 0
    assert len(mail.outbox) == 1


def test_five_days_of_failure_disable_with_one_notice(inbox):
    made, _ = endpoint(customer(), inbox.url())
    inbox.answer = answering(500)
    record("a")
    deliver()
    Endpoint.objects.update(failing_since=timezone.now() - timedelta(days=4, hours=23))
    hurry()
    deliver()
    made.refresh_from_db()
    assert made.state == "active"
    Endpoint.objects.update(failing_since=timezone.now() - timedelta(days=5, seconds=1))
    hurry()
    deliver()
    made.refresh_from_db()
    assert (made.state, made.reason) == ("disabled", "It failed for five days.")
    assert len(mail.outbox) == 1


def test_a_notice_that_cannot_be_mailed_is_owed_until_it_can(inbox, settings, free_port):
    backend = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port
    endpoint(customer(), inbox.url())
    inbox.answer = answering(410)
    record("a")
    deliver()
    assert Endpoint.objects.get().notify
    settings.EMAIL_BACKEND = backend
    deliver()
    assert len(mail.outbox) == 1


def test_a_mail_server_that_hangs_holds_up_no_delivery(inbox, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.EMAIL_HOST, settings.EMAIL_PORT = silent.getsockname()
        settings.EMAIL_TIMEOUT = 8
        endpoint(customer(), inbox.url())
        gone, _ = endpoint(customer(), inbox.url())
        Endpoint.objects.filter(pk=gone.pk).update(state="disabled", notify=True)
        stop = threading.Event()
        deliverer = Deliverer(stop)
        runner = threading.Thread(target=consuming.run, args=(deliverer, stop))
        runner.start()
        silent.accept()
        record("a")
        eventually(lambda: inbox.received, 6)
        stop.set()
        runner.join(20)
    assert Endpoint.objects.get(pk=gone.pk).notify


def test_switched_on_again_it_goes_on_where_it_stopped(inbox):
    made, _ = endpoint(customer(), inbox.url())
    inbox.answer = answering(410)
    record("a", "b", "c")
    deliver()
    inbox.answer = answering(200)
    endpoints.set_paused(made, False)
    deliver()
    assert ids(inbox) == ["a", "b", "c"]
    assert sorted(Delivery.objects.values_list("state", flat=True)) == ["delivered", "delivered", "failed"]


def test_after_an_outage_what_waits_comes_soon(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(500)
    record("a", "b", "c")
    for _ in range(3):
        deliver()
        Endpoint.objects.update(wake_at=timezone.now(), plan_at=timezone.now())
    Delivery.objects.update(due_at=timezone.now() + timedelta(hours=20))
    first = Delivery.objects.order_by("position").first()
    Delivery.objects.filter(pk=first.pk).update(due_at=timezone.now())
    Endpoint.objects.update(failing_since=timezone.now() - timedelta(hours=1), wake_at=timezone.now())
    inbox.answer = answering(200)
    deliver()
    waiting = Delivery.objects.filter(state="waiting")
    assert waiting
    assert all(row.due_at - timezone.now() < timedelta(seconds=11) for row in waiting)


def test_without_a_live_subscription_nothing_is_sent_and_nothing_is_lost(inbox):
    owner = customer()
    endpoint(owner, inbox.url())
    record("a")
    Subscription.objects.update(state="expired")
    assert deliver() == 0
    Subscription.objects.update(state="active")
    hurry()
    deliver()
    assert ids(inbox) == ["a"]


def test_a_subscription_that_lapses_between_two_attempts_holds_the_delivery(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(500)
    record("a")
    deliver()
    Subscription.objects.update(state="past_due", grace_until=timezone.now() - timedelta(seconds=1))
    hurry()
    assert deliver() == 0
    Subscription.objects.update(grace_until=timezone.now() + timedelta(hours=1))
    hurry()
    assert deliver() == 1


def test_a_plan_that_shrinks_withholds_what_it_no_longer_covers(inbox):
    owner = customer()
    endpoint(owner, inbox.url())
    inbox.answer = answering(500)
    record("a")
    deliver()
    plan = Subscription.objects.get().plan
    plan.ecosystems = ["forex"]
    plan.save()
    hurry()
    deliver()
    assert Delivery.objects.get().state == "withheld"
    assert len(inbox.received) == 1


def test_only_what_the_plan_and_the_key_cover_is_sent(inbox):
    owner = customer(ecosystems=["crypto", "forex"], instruments=["BTC/*", "EUR/USD"])
    endpoint(owner, inbox.url("/all"))
    endpoint(owner, inbox.url("/forex"), ecosystems=["forex"])
    record("btc")
    record("eth", symbol="ETHUSDT")
    record("eur", ecosystem="forex", symbol="EURUSD")
    record("aapl", ecosystem="stock", symbol="AAPL")
    deliver()
    got = {(r.path, json.loads(r.body)["data"]["signal_id"]) for r in inbox.received}
    assert got == {("/all", "btc"), ("/all", "eur"), ("/forex", "eur")}


def test_a_delayed_plan_gets_a_signal_when_it_is_old_enough(inbox):
    owner = customer(delay=timedelta(seconds=2))
    endpoint(owner, inbox.url())
    record("a")
    recorded = time.monotonic()
    assert deliver() == 0

    def arrived() -> bool:
        deliver()
        return bool(inbox.received)

    eventually(arrived, 20)
    assert time.monotonic() - recorded >= 2


def test_the_signals_of_a_day_are_counted_once_and_end_at_the_limit(inbox):
    owner = customer(signals_per_day=3)
    made, _ = endpoint(owner, inbox.url())
    inbox.answer = answering(500)
    record("a", "b", "c", "d", "e")
    deliver()
    inbox.answer = answering(200)
    for _ in range(3):
        hurry(timedelta(minutes=20))
        deliver()
    assert sorted(ids(inbox)[1:]) == ["a", "b", "c"]
    assert UsageDay.objects.get().signals == 3
    made.refresh_from_db()
    assert made.plan_at > timezone.now()
    UsageDay.objects.update(signals=0)
    hurry()
    deliver()
    assert sorted(ids(inbox)[1:]) == ["a", "b", "c", "d", "e"]


def test_a_new_endpoint_begins_with_now(inbox):
    owner = customer()
    record("before")
    endpoint(owner, inbox.url(), after=None)
    record("after")
    deliver()
    assert ids(inbox) == ["after"]


def test_a_pause_holds_and_a_resumption_sends_the_meantime(inbox):
    made, _ = endpoint(customer(), inbox.url())
    endpoints.set_paused(made, True)
    record("a", "b")
    assert deliver() == 0
    endpoints.set_paused(made, False)
    deliver()
    assert ids(inbox) == ["a", "b"]


def test_a_replay_sends_again_under_the_same_ids(inbox):
    made, _ = endpoint(customer(), inbox.url())
    record("a", "b", "c")
    deliver()
    endpoints.replay(made, TradingSignal.objects.get(signal_id="a").position)
    deliver()
    assert ids(inbox) == ["a", "b", "c", "b", "c"]
    sent = message_ids(inbox)
    assert sent[1:3] == sent[3:5]
    assert Attempt.objects.count() == 5


def test_a_cursor_from_the_future_skips_nothing(inbox):
    made, _ = endpoint(customer(), inbox.url(), after=10**12)
    endpoints.replay(made, 10**12)
    record("a")
    deliver()
    assert ids(inbox) == ["a"]


def test_endpoints_beyond_a_smaller_plan_are_held(inbox):
    owner = customer(webhooks=2)
    endpoint(owner, inbox.url("/first"))
    endpoint(owner, inbox.url("/second"))
    Plan.objects.update(webhooks=1)
    record("a")
    deliver()
    assert [request.path for request in inbox.received] == ["/first"]
    Plan.objects.update(webhooks=2)
    hurry()
    deliver()
    assert [request.path for request in inbox.received] == ["/first", "/second"]


def test_a_replay_outlives_the_pruning_of_old_deliveries(inbox):
    made, _ = endpoint(customer(), inbox.url())
    record("a")
    deliver()
    assert tasks.prune_deliveries() == 0
    Delivery.objects.update(created_at=timezone.now() - timedelta(days=31))
    assert tasks.prune_deliveries() == 1
    assert not Attempt.objects.exists()
    endpoints.replay(made, 0)
    deliver()
    assert len(set(message_ids(inbox))) == 1
    assert len(inbox.received) == 2


def test_after_a_rotation_both_secrets_verify_for_a_while(inbox):
    made, old = endpoint(customer(), inbox.url())
    new = endpoints.rotate(made)
    assert new != old
    record("a")
    deliver()
    for secret in (old, new):
        assert Webhook(secret).verify(inbox.received[0].body, inbox.received[0].headers)
    Endpoint.objects.update(previous_until=timezone.now())
    record("b")
    deliver()
    assert Webhook(new).verify(inbox.received[1].body, inbox.received[1].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(inbox.received[1].body, inbox.received[1].headers)


def test_a_test_message_is_sent_even_when_nothing_is_recorded(inbox):
    made, secret = endpoint(customer(), inbox.url())
    endpoints.send_test(made)
    deliver()
    [request] = inbox.received
    assert Webhook(secret).verify(request.body, request.headers)["type"] == "webhook.test"
    assert not UsageDay.objects.exists()


def test_neither_addresses_nor_secrets_are_in_the_database(inbox):
    made, secret = endpoint(customer(), inbox.url("/hook/with-a-token"))
    row = Endpoint.objects.filter(pk=made.pk).values().get()
    text = str(row)
    assert "with-a-token" not in text
    assert secret.removeprefix("whsec_") not in text
    assert signing_secret(made) == secret


def test_an_address_turned_bad_is_refused_at_sending(inbox, settings):
    endpoint(customer(), inbox.url())
    record("a")
    local(settings, networks=())
    deliver()
    assert inbox.connections == 0
    assert Attempt.objects.get().error == "refused: address_not_public"


def test_a_redirect_is_a_failure(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(302, headers={"Location": inbox.url("/elsewhere")})
    record("a")
    deliver()
    assert [request.path for request in inbox.received] == ["/hook"]
    assert Delivery.objects.get().state == "waiting"


def test_a_changed_core_secret_is_told_and_crashes_nothing(inbox, settings):
    endpoint(customer(), inbox.url())
    record("a")
    local(settings, auth_secret="another")
    deliver()
    assert "CORE_AUTH_SECRET" in Attempt.objects.get().error
    assert inbox.connections == 0


def test_an_endpoint_deleted_under_way_leaves_nothing_behind(inbox):
    made, _ = endpoint(customer(), inbox.url())
    inbox.answer = lambda _: Answering(before=lambda: Endpoint.objects.filter(pk=made.pk).delete())
    record("a", "b")
    deliver()
    assert len(inbox.received) == 1
    assert not Delivery.objects.exists()


def test_an_endpoint_that_hangs_delays_nobody_else(inbox):
    free = threading.Event()
    with receiver() as stuck:
        stuck.answer = lambda _: Answering(before=lambda: free.wait(14))
        for _ in range(3):
            endpoint(customer(), stuck.url())
        endpoint(customer(), inbox.url())
        record("a", "b", "c")
        runner = threading.Thread(target=deliver)
        runner.start()
        try:
            eventually(lambda: len(inbox.received) == 3, 5)
            assert len(stuck.received) == 3
        finally:
            free.set()
            runner.join(30)
    assert ids(inbox) == ["a", "b", "c"]


def test_hanging_endpoints_beyond_all_threads_leave_a_thread_to_those_that_answer(inbox):
    """Once an endpoint has failed it waits for other threads than those of the endpoints that answer."""
    with receiver() as stuck:
        stuck.answer = answering(500)
        for _ in range(4):
            endpoint(customer(), stuck.url())
        record("a")
        deliver(threads=1, failing_threads=1)
        free = threading.Event()
        stuck.answer = lambda _: Answering(before=lambda: free.wait(14))
        endpoint(customer(), inbox.url(), after=None)
        hurry()
        record("b")
        runner = threading.Thread(target=deliver, kwargs={"threads": 1, "failing_threads": 1})
        runner.start()
        try:
            eventually(lambda: inbox.received, 5)
        finally:
            free.set()
            runner.join(60)
    assert ids(inbox) == ["b"]


def test_the_celery_task_starts_deliveries_and_does_not_wait_for_them(inbox):
    endpoint(customer(), inbox.url())
    record("a")
    tasks.deliver_webhooks()
    eventually(lambda: Delivery.objects.get().state == "delivered")
    tasks._deliverer().close()
    tasks._deliverer.cache_clear()
    assert ids(inbox) == ["a"]


COMMAND = ("deliver_webhooks",)
LOCAL = {"DJANGO_DEBUG": "1", "CORE_DELIVERY_NETWORKS": "127.0.0.0/8"}


def test_a_celery_worker_with_beat_delivers(inbox, run_program, redis_client, tmp_path):
    endpoint(customer(), inbox.url())
    record("a")
    options = ["--pool", "threads", "--concurrency", "2", "--schedule", str(tmp_path / "beat")]
    worker = run_program([sys.executable, "-m", "celery", "-A", "config", "worker", "-B", *options], **LOCAL)
    worker.until(lambda: inbox.received, 40)
    assert ids(inbox) == ["a"]
    assert worker.stop(40) == 0


def test_processes_that_race_send_each_delivery_once(inbox, run_manage):
    boxes = [endpoint(customer(), inbox.url(f"/{number}"))[0] for number in range(4)]
    workers = [run_manage(*COMMAND, **LOCAL) for _ in range(3)]
    for batch in range(10):
        record(*[f"{batch}-{number}" for number in range(10)])
    workers[0].until(lambda: len(inbox.received) >= 400, 60)
    assert [worker.stop() for worker in workers] == [0, 0, 0]
    got = [(request.path, json.loads(request.body)["data"]["signal_id"]) for request in inbox.received]
    assert len(got) == len(set(got)) == 400
    assert Attempt.objects.count() == 400
    assert not Delivery.objects.exclude(state="delivered").exists()
    for number in range(len(boxes)):
        order = [signal_id for path, signal_id in got if path == f"/{number}"]
        assert order == list(TradingSignal.objects.order_by("position").values_list("signal_id", flat=True))


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
            worker.until(lambda before=before: len(inbox.received) > before + 10, 30)
        ledger.adopt(10)
        worker.process.send_signal(signals.SIGKILL)
        worker.wait()
        # The time that a dead worker's lease takes to run out.
        Endpoint.objects.update(leased_until=timezone.now(), wake_at=timezone.now())
        Delivery.objects.filter(state="waiting").update(due_at=timezone.now())
    worker = run_manage(*COMMAND, **LOCAL)
    everything = set(TradingSignal.objects.values_list("signal_id", flat=True))
    assert len(everything) == 123
    expected = {(path, signal_id) for path in owners for signal_id in everything}
    worker.until(lambda: arrived(inbox) == expected, 40)
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
    from commerce.entitlements import scope

    plan = Subscription.objects.get(customer=owner).plan
    return feed.read(scope(plan), feed.NO_FILTERS, 0, 500).signals


def test_the_command_ends_on_sigterm_after_the_request_under_way(inbox, run_manage):
    endpoint(customer(), inbox.url())
    held = threading.Event()
    inbox.answer = lambda _: Answering(before=lambda: held.wait(10))
    record(*[f"s{number}" for number in range(60)])
    worker = run_manage(*COMMAND, **LOCAL)
    worker.until(lambda: inbox.received)
    worker.process.terminate()
    held.set()
    assert worker.wait() == 0
    assert 1 <= len(inbox.received) < 60
    assert Delivery.objects.filter(state="delivered").count() == len(inbox.received)
    assert Endpoint.objects.get().lease is None
