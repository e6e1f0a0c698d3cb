"""`GET /health` and `/livez`."""

import json
import threading
import time
from dataclasses import replace

import pytest
import redis
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection
from django.test import AsyncClient

from aggregator.health.checks import Check, CheckResult, Degraded, Failed, Status
from aggregator.health.runner import CheckRunner, check_runner
from aggregator.ingest.streams import GROUP
from aggregator.models import DeadLetter
from tests.servers import eventually, frozen

STREAM = "core_signals:signals"


@pytest.fixture(autouse=True)
def own_runner():
    """Results that another test has not left behind."""
    check_runner.cache_clear()
    yield
    check_runner.cache_clear()


@pytest.fixture
def environment(monkeypatch):
    """Change what this process believes its environment to be."""

    def change(**fields):
        monkeypatch.setattr(settings, "ENVIRONMENT", replace(settings.ENVIRONMENT, **fields))

    return change


def health(client):
    """Status code and body of a poll that finds nothing remembered."""
    check_runner.cache_clear()
    response = client.get("/health")
    return response.status_code, json.loads(response.content)


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_all_is_well(client, redis_client):
    status, body = health(client)
    assert (status, body["status"], body["backend"]) == (200, "ok", "memory")
    assert body["checks"]["redis"] == {"status": "ok"}
    names = {"database", "database:forex", "migrations", "redis", "stream:signals"}
    assert names <= set(body["checks"])


@pytest.mark.parametrize("host", ["testserver", "10.0.0.5:8000"])
def test_livez_needs_nothing(client, host):
    """Nor a host's name: load balancers ask by an address."""
    for ask in (client.get, async_to_sync(AsyncClient().get)):
        response = ask("/livez", headers={"host": host})
        assert (response.status_code, response.content) == (200, b"ok")


def test_a_browser_that_shows_it_gets_the_hubs_icon(client):
    response = client.get("/favicon.ico", follow=True)
    assert (response.status_code, response["Content-Type"]) == (200, "image/svg+xml")


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_database_down_is_reported_soon_and_is_no_server_error(client, redis_client, postgres_server):
    postgres_server.stop()
    connection.close()
    began = time.monotonic()
    status, body = health(client)
    assert time.monotonic() - began < 30
    assert (status, body["status"]) == (503, "failed")
    assert body["checks"]["database"] == {"status": "failed", "detail": "does not answer"}
    assert body["checks"]["redis"]["status"] == "ok"
    assert client.get("/livez").status_code == 200

    postgres_server.start()
    assert eventually(lambda: health(client)[0] == 200)


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_a_database_that_hangs_fails_alone(client, redis_client, postgres_server):
    """An operator should not look for a missing migration, or for lost entries."""
    with frozen(postgres_server):
        status, body = health(client)
    assert (status, body["status"]) == (503, "failed")
    assert body["checks"]["database"] == {"status": "failed", "detail": "does not answer"}
    unknown = {"status": "degraded", "detail": "unknown without the database"}
    names = ("migrations", "stream:signals", "alerts", "followers")
    assert [body["checks"][name] for name in names] == [unknown] * 4


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_redis_down_fails(client, environment, free_port):
    environment(redis_url=f"redis://:hidden-password@127.0.0.1:{free_port}/0")
    status, body = health(client)
    assert (status, body["status"]) == (503, "failed")
    assert body["checks"]["redis"]["status"] == body["checks"]["stream:signals"]["status"] == "failed"
    assert "hidden-password" not in json.dumps(body)
    assert str(free_port) not in json.dumps(body)


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_without_redis_there_is_nothing_to_fail(client, environment):
    environment(redis_url=None)
    status, body = health(client)
    assert (status, body["checks"]["redis"]) == (200, {"status": "ok", "detail": "not configured"})
    assert not any(name.startswith("stream:") for name in body["checks"])


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_missing_migration_fails(client, redis_client):
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM django_migrations WHERE id IN (SELECT max(id) FROM django_migrations"
            " WHERE app = 'aggregator') RETURNING app, name, applied"
        )
        row = cursor.fetchone()
    try:
        status, body = health(client)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", row)
    assert (status, body["checks"]["migrations"]["status"]) == (503, "failed")


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_trimmed_entries_fail_until_an_operator_resolves_them(client, redis_client):
    letter = DeadLetter.objects.create(
        fingerprint=b"1", transport="redis", code="trimmed_unread", detail="", raw=b"", stream=STREAM,
        deliveries=7, first_at="2026-01-01T00:00Z", last_at="2026-01-01T00:00Z",
    )  # fmt: skip
    status, body = health(client)
    assert status == 503
    assert body["checks"]["stream:signals"]["detail"] == "entries were trimmed before they were read"

    DeadLetter.objects.filter(pk=letter.pk).update(resolved_at="2026-01-02T00:00Z")
    assert health(client)[0] == 200


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_trimming_is_seen_while_no_consumer_runs(client, redis_client):
    redis_client.xadd(STREAM, {"payload": b"{}"})
    redis_client.xgroup_create(STREAM, GROUP, id="0")
    redis_client.xreadgroup(GROUP, "one", {STREAM: ">"})
    for _ in range(3):
        redis_client.xadd(STREAM, {"payload": b"{}"})
    redis_client.xtrim(STREAM, maxlen=1, approximate=False)
    status, body = health(client)
    assert (status, body["checks"]["stream:signals"]["status"]) == (503, "failed")


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_a_stream_without_consumers_is_degraded(client, redis_client):
    redis_client.xadd(STREAM, {"payload": b"{}"})
    status, body = health(client)
    assert (status, body["status"]) == (200, "degraded")
    assert body["checks"]["stream:signals"] == {"status": "degraded", "detail": "no consumers"}


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_a_long_stream_is_degraded(client, redis_client, monkeypatch):
    monkeypatch.setattr("aggregator.ingest.stream_state.MAX_LAG", 4)
    redis_client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    redis_client.xadd(STREAM, {"payload": b"{}"})
    redis_client.xreadgroup(GROUP, "one", {STREAM: ">"})
    for _ in range(4):
        redis_client.xadd(STREAM, {"payload": b"{}"})
    assert health(client)[1]["checks"]["stream:signals"]["status"] == "ok"
    redis_client.xadd(STREAM, {"payload": b"{}"})
    assert health(client)[1]["checks"]["stream:signals"] == {"status": "degraded", "detail": "behind"}


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_a_stream_of_another_type_fails(client, redis_client: redis.Redis):
    redis_client.set(STREAM, "no stream")
    assert health(client)[1]["checks"]["stream:signals"]["status"] == "failed"


class Answering(Check):
    """A check that gives or raises what the test wants, as soon as `let` is set."""

    def __init__(self, name="one", error=None, let=None):
        super().__init__()
        self.name = name
        self.error, self.let, self.runs = error, let, 0

    def run(self):
        self.runs += 1
        if self.let is not None:
            self.let.wait(60)
        if self.error:
            raise self.error


class InBackground(Answering):
    in_background = True


@pytest.mark.parametrize(
    ("error", "status", "summary"),
    [
        (None, Status.OK, ""),
        (Degraded("slow", "10 s"), Status.DEGRADED, "slow"),
        (Failed("gone", "10 s"), Status.FAILED, "gone"),
        (RuntimeError("postgres://user:password@host"), Status.FAILED, "unknown error"),
    ],
)
def test_what_a_check_raises_is_its_result(error, status, summary):
    (result,) = CheckRunner([Answering(error=error)]).results()
    assert (result.status, result.summary) == (status, summary)


def test_a_check_that_only_degrades_never_fails_the_hub():
    check = Answering(error=Failed("gone"))
    check.max_status = Status.DEGRADED
    assert CheckRunner([check]).results()[0].status is Status.DEGRADED


def test_polls_at_once_run_a_check_once():
    check = Answering(let=threading.Event())
    runner = CheckRunner([check], fresh_s=60.0)
    polls = [threading.Thread(target=runner.results) for _ in range(20)]
    for poll in polls:
        poll.start()
    check.let.set()
    for poll in polls:
        poll.join()
    assert check.runs == 1


def test_a_poll_does_not_wait_for_another_one():
    check = Answering()
    runner = CheckRunner([check], fresh_s=0.0)
    known = runner.results()
    check.let = threading.Event()
    slow = threading.Thread(target=runner.results)
    slow.start()
    eventually(lambda: check.runs == 2)
    assert runner.results() == known
    check.let.set()
    slow.join()


def test_a_check_that_hangs_is_not_run_again(monkeypatch):
    monkeypatch.setattr(Answering, "timeout_s", 0.1)
    check = Answering(let=threading.Event())
    results = [CheckRunner([check]).results()[0] for _ in range(2)]
    assert [result.status for result in results] == [Status.FAILED] * 2
    assert check.runs == 1
    check.let.set()


def test_a_poll_does_not_wait_for_a_check_in_the_background():
    check = InBackground(let=threading.Event())
    runner = CheckRunner([check], fresh_s=0.0)
    assert runner.results() == [CheckResult("one", Status.OK, "not run yet")]
    check.let.set()
    eventually(lambda: runner.results()[0].summary == "")


def test_a_check_in_the_background_that_takes_its_time_is_ok(caplog):
    check = InBackground(let=threading.Event())
    runner = CheckRunner([check], fresh_s=0.0)
    for _ in range(20):
        assert runner.results() == [CheckResult("one", Status.OK, "not run yet")]
    check.let.set()
    eventually(lambda: runner.results()[0].summary == "")
    assert not caplog.records


def test_a_check_in_the_background_that_hangs_is_reported(monkeypatch):
    monkeypatch.setattr(InBackground, "timeout_s", 0.1)
    check = InBackground(let=threading.Event())
    runner = CheckRunner([check], fresh_s=0.0)
    eventually(lambda: runner.results()[0].status is Status.FAILED)
    check.let.set()
    eventually(lambda: runner.results()[0].status is Status.OK)
