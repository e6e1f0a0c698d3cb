"""The checks of other programs, the public address, the disk, followers, and that signals come in."""

import shutil
import sys
import threading
import time
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests
from django.conf import settings
from django.db import connections

from aggregator import followers, ledger, worker_states
from aggregator.health.checks import Status
from aggregator.health.ledger_checks import FollowersCheck
from aggregator.health.market_checks import FreshnessCheck
from aggregator.health.program_checks import DiskCheck, EndpointCheck, WorkerCheck
from aggregator.ingest.databases import DatabaseConsumer
from aggregator.models import Agent, WorkerLoop
from aggregator.worker_states import LoopState
from tests.aggregator.ledger.samples import entry, insert, record_and_count, rows
from tests.servers import Program, eventually


def run(check):
    """The status and summary of a check's result."""
    result = check.result(wait=True)
    return result.status.value, result.summary


BOTH = pytest.mark.django_db(transaction=True, databases=["default", "forex"])


def seen(worker, seconds_ago=5, **state):
    """Write the state of a loop as a worker did so long ago."""
    worker_states.write_states([LoopState(worker, **{"loop": "streams", "ok_age_s": 1.0} | state)])
    rows(
        "UPDATE worker_loops SET seen_at = seen_at - make_interval(secs => %s) WHERE worker = %s RETURNING 1",
        seconds_ago,
        worker,
    )


def workers():
    return run(WorkerCheck(list(settings.WORKER_LOOPS)))


@BOTH
def test_loops_that_were_never_hosted_are_not_missed():
    assert workers() == ("ok", "none seen")
    seen("one-1", 60, loop="of-former-days")
    assert workers() == ("ok", "none seen")


@BOTH
@pytest.mark.parametrize(("alias", "other"), [("default", "forex"), ("forex", "default")])
def test_inserted_rows_that_wait_for_a_worker_that_never_ran_are_seen(alias, other):
    with connections[alias].cursor() as cursor:
        insert(cursor, "waits", "forex")
        assert workers() == ("ok", "none seen")
        cursor.execute("UPDATE trading_signals SET received_at = now() - interval '61 seconds'")
    assert workers() == ("failed", "none records inserted rows")
    seen("one-1", loop=f"databases:{other}")
    assert workers() == ("failed", "none records inserted rows")
    seen("two-2", loop=f"databases:{alias}")
    assert workers() == ("ok", "")
    WorkerLoop.objects.filter(worker="two-2").delete()
    DatabaseConsumer(alias).run_once()
    assert workers() == ("ok", "")


@BOTH
def test_a_loop_that_no_worker_hosts_any_more_is_missed():
    seen("one-1", 60)
    assert workers() == ("failed", "silent")
    seen("two-2", 5)
    assert workers() == ("ok", "")
    seen("one-1", 60, loop="periodic")
    assert workers() == ("failed", "silent")


@BOTH
def test_a_loop_that_crashes_or_does_nothing_is_reported():
    seen("one-1", crashes=2, problem="ZeroDivisionError")
    result = WorkerCheck(["streams"]).result(wait=True)
    assert (result.status.value, result.summary) == ("degraded", "crashing")
    assert result.detail == "streams of one-1 crashed 2 times (ZeroDivisionError): restarting"
    seen("one-1", ok_age_s=200.0, problem="outage: ConnectionError")
    assert workers() == ("degraded", "stalled")
    seen("one-1")
    assert workers() == ("ok", "")


@BOTH
def test_real_workers_and_beat_are_seen(run_program, redis_client, tmp_path):
    celery = [sys.executable, "-m", "celery", "-A", "config"]
    run_program([*celery, "worker", "--pool", "threads", "--concurrency", "1"])
    run_program([*celery, "beat", "--schedule", str(tmp_path / "schedule"), "--pidfile="])
    hosted = {name for (name,) in eventually(lambda: rows("SELECT DISTINCT loop FROM worker_loops"))}
    assert hosted - {"periodic"} == {*settings.WORKER_LOOPS} - {"periodic"}
    eventually(lambda: WorkerLoop.objects.filter(loop="periodic").exists(), what="beat seen")
    assert run(WorkerCheck(list(settings.WORKER_LOOPS))) == ("ok", "")


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_the_endpoint_of_the_real_hub_answers_and_nothing_is_made(live_hub):
    url = live_hub()
    # The first request builds what the later ones use, and the check waits a second for an answer.
    eventually(lambda: run(EndpointCheck(f"{url}/api/signals")) == ("ok", ""), what="the endpoint answers")
    other = ("degraded", "answers, but not as the webhook does")
    eventually(lambda: run(EndpointCheck(f"{url}/livez")) == other, what="another address answers")
    assert rows("SELECT count(*) FROM dead_letters") == rows("SELECT count(*) FROM trading_signals") == [(0,)]


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_a_hub_of_one_thread_can_check_itself(run_program, free_port):
    options = ["--port", str(free_port), "--workers", "1", "--blocking-threads", "1", "--no-ws"]
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", *options, "config.wsgi:application"]
    url = f"http://127.0.0.1:{free_port}"
    program: Program = run_program(command, AGG_SIGNAL_ENDPOINT=f"{url}/api/signals")
    program.until(lambda: requests.get(f"{url}/livez", timeout=30).ok)

    def endpoint():
        return requests.get(f"{url}/health", timeout=30).json()["checks"]["endpoint"]

    assert eventually(lambda: endpoint() == {"status": "ok"})


def test_an_endpoint_that_nothing_listens_on(free_port):
    url = f"http://user:hidden@127.0.0.1:{free_port}/api/signals"
    result = EndpointCheck(url).result(wait=True)
    assert (result.status, result.summary) == (Status.DEGRADED, "cannot be reached from here")
    assert "hidden" not in result.detail
    assert run(EndpointCheck(None)) == ("ok", "not configured")


class Redirecting(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(302)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *args):
        pass


def test_an_endpoint_that_redirects_is_not_followed():
    server = HTTPServer(("127.0.0.1", 0), Redirecting)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    assert run(EndpointCheck(f"http://127.0.0.1:{server.server_address[1]}/api/signals"))[0] == "degraded"
    assert server.asked == ["/api/signals"]
    server.shutdown()
    server.server_close()


GIB = 1 << 30
Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("total", "free", "status"),
    [
        (100 * GIB, 50 * GIB, "ok"),
        (100 * GIB, 9 * GIB, "degraded"),
        (1000 * GIB, 50 * GIB, "ok"),
        (100 * GIB, 1 * GIB, "failed"),
        (2 * GIB, GIB // 5, "failed"),
    ],
)
def test_the_disk(monkeypatch, total, free, status):
    """No disk can be filled for a test: what the system says of one is replaced."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(total, total - free, free))
    assert run(DiskCheck(Path("/")))[0] == status


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_freshness():
    assert run(FreshnessCheck("crypto")) == ("ok", "no signals yet")
    record_and_count([entry("a"), entry("b", agent_source="bot-2")], "webhook")
    assert run(FreshnessCheck("crypto")) == ("ok", "")
    Agent.objects.update(expected_cadence="00:05:00")
    late = "UPDATE agents SET last_seen = now() - interval '6 minutes' WHERE agent_source = %s RETURNING 1"
    rows(late, "bot-1")
    assert run(FreshnessCheck("crypto")) == ("ok", "")
    rows(late, "bot-2")
    assert run(FreshnessCheck("crypto")) == ("degraded", "silent")
    record_and_count([entry("c", agent_source="bot-3")], "webhook")
    assert run(FreshnessCheck("crypto")) == ("ok", "")
    assert run(FreshnessCheck("stock")) == ("ok", "no signals yet")


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_checks_that_need_the_database_only_degrade_without_it(postgres_server):
    postgres_server.stop()
    began = time.monotonic()
    assert run(FreshnessCheck("crypto")) == ("degraded", "unknown without the database")
    assert time.monotonic() - began < 30


def recorded_seconds_ago(seconds):
    """One signal, which no follower has applied."""
    ledger.record([entry("a")], "webhook")
    rows("UPDATE trading_signals SET recorded_at = now() - make_interval(secs => %s) RETURNING 1", seconds)


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
@pytest.mark.parametrize(("seconds", "status"), [(1, "ok"), (20, "degraded"), (90, "failed")])
def test_a_follower_that_lags(seconds, status):
    check = FollowersCheck(["rollups"])
    assert run(check) == ("ok", "none has run yet")
    followers.create("rollups")
    recorded_seconds_ago(seconds)
    result = check.result(wait=True)
    assert result.status.value == status
    assert f"rollups {seconds}." in result.detail
    rows("UPDATE followers SET position = (SELECT max(position) FROM trading_signals) RETURNING 1")
    assert run(check) == ("ok", "")
