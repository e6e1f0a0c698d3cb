"""The probes of other programs, the public address, the disk, and whether signals come in."""

import shutil
import sys
import threading
import time
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests

from aggregator.health import heartbeats
from aggregator.health.checks import Status
from aggregator.health.freshness_check import FreshnessCheck
from aggregator.health.program_checks import DiskCheck, EndpointCheck, HeartbeatCheck
from aggregator.health.runner import CheckRunner
from aggregator.models import Agent
from tests.aggregator.ledger.samples import entry, record_and_count, rows
from tests.servers import Program, eventually, web


def ask(probe):
    """The outcome's state and text."""
    (outcome,) = CheckRunner([probe]).ask_all()
    return outcome.state.value, outcome.text


@pytest.fixture
def url(redis_client):
    arguments = redis_client.connection_pool.connection_kwargs
    return f"redis://:{arguments['password'] or ''}@{arguments['host']}:{arguments['port']}/{arguments['db']}"


def seen(redis_client, who, seconds_ago):
    redis_client.hset(heartbeats.KEY, who, redis_client.time()[0] - seconds_ago)


def test_workers_that_were_never_seen_are_not_missed(url, redis_client):
    assert ask(HeartbeatCheck("worker", url)) == ("ok", "none seen")
    assert ask(HeartbeatCheck("worker", None)) == ("ok", "not configured")


def test_workers_that_fell_silent_are_missed(url, redis_client):
    seen(redis_client, "worker:celery@one", 60)
    assert ask(HeartbeatCheck("worker", url)) == ("failed", "silent")
    assert ask(HeartbeatCheck("beat", url)) == ("ok", "none seen")
    seen(redis_client, "worker:celery@two", 5)
    assert ask(HeartbeatCheck("worker", url)) == ("ok", "")


def test_workers_are_forgotten_after_a_day_but_not_the_last_one(url, redis_client):
    seen(redis_client, "worker:celery@one", 90_000)
    seen(redis_client, "worker:celery@two", 200_000)
    seen(redis_client, "beat:hub", 5)
    assert ask(HeartbeatCheck("worker", url)) == ("failed", "silent")
    seen(redis_client, "worker:celery@three", 5)
    assert ask(HeartbeatCheck("worker", url)) == ("ok", "")
    assert sorted(redis_client.hkeys(heartbeats.KEY)) == [b"beat:hub", b"worker:celery@three"]


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_real_workers_and_beat_are_seen(run_program, redis_client, tmp_path, url):
    celery = [sys.executable, "-m", "celery", "-A", "config"]
    run_program([*celery, "worker", "--pool", "threads", "--concurrency", "1"])
    run_program([*celery, "beat", "--schedule", str(tmp_path / "schedule"), "--pidfile="])
    eventually(lambda: all(heartbeats.ages(redis_client).values()), what="both seen")
    assert ask(HeartbeatCheck("worker", url)) == ask(HeartbeatCheck("beat", url)) == ("ok", "")


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_the_endpoint_of_the_real_hub_answers_and_nothing_is_made(live_hub):
    url = live_hub()
    # The first request builds what the later ones use, and a probe waits a second for an answer.
    eventually(lambda: ask(EndpointCheck(f"{url}/api/signals")) == ("ok", ""), what="the endpoint answers")
    other = ("degraded", "answers, but not as the hub's door does")
    eventually(lambda: ask(EndpointCheck(f"{url}/livez")) == other, what="another address answers")
    assert rows("SELECT count(*) FROM dead_letters") == rows("SELECT count(*) FROM trading_signals") == [(0,)]


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_a_hub_of_one_thread_can_be_asked_about_itself(run_program, free_port):
    command = web(free_port)
    command[command.index("--blocking-threads") + 1] = "1"
    url = f"http://127.0.0.1:{free_port}"
    program: Program = run_program(command, AGG_SIGNAL_ENDPOINT=f"{url}/api/signals")
    program.until(lambda: requests.get(f"{url}/livez", timeout=30).ok)

    def endpoint():
        return requests.get(f"{url}/health", timeout=30).json()["checks"]["endpoint"]

    assert eventually(lambda: endpoint() == {"status": "ok"})


def test_an_endpoint_nobody_listens_on(free_port):
    url = f"http://user:hidden@127.0.0.1:{free_port}/api/signals"
    (outcome,) = CheckRunner([EndpointCheck(url)]).ask_all()
    assert (outcome.state, outcome.text) == (Status.DEGRADED, "cannot be reached from here")
    assert "hidden" not in outcome.detail
    assert ask(EndpointCheck(None)) == ("ok", "not configured")


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
    assert ask(EndpointCheck(f"http://127.0.0.1:{server.server_address[1]}/api/signals"))[0] == "degraded"
    assert server.asked == ["/api/signals"]
    server.shutdown()
    server.server_close()


GIB = 1 << 30
Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("total", "free", "state"),
    [
        (100 * GIB, 50 * GIB, "ok"),
        (100 * GIB, 9 * GIB, "degraded"),
        (1000 * GIB, 50 * GIB, "ok"),
        (100 * GIB, 1 * GIB, "failed"),
        (2 * GIB, GIB // 5, "failed"),
    ],
)
def test_the_disk(monkeypatch, total, free, state):
    """No disk can be filled for a test: what the system says of one is replaced."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(total, total - free, free))
    assert ask(DiskCheck(Path("/")))[0] == state


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_freshness():
    assert ask(FreshnessCheck("crypto")) == ("ok", "nothing has come yet")
    record_and_count([entry("a"), entry("b", agent_source="bot-2")], "webhook")
    assert ask(FreshnessCheck("crypto")) == ("ok", "")
    Agent.objects.update(expected_cadence="00:05:00")
    late = "UPDATE agents SET last_seen = now() - interval '6 minutes' WHERE agent_source = %s RETURNING 1"
    rows(late, "bot-1")
    assert ask(FreshnessCheck("crypto")) == ("ok", "")
    rows(late, "bot-2")
    assert ask(FreshnessCheck("crypto")) == ("degraded", "silent")
    record_and_count([entry("c", agent_source="bot-3")], "webhook")
    assert ask(FreshnessCheck("crypto")) == ("ok", "")
    assert ask(FreshnessCheck("stock")) == ("ok", "nothing has come yet")


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_probes_that_need_the_database_leave_its_absence_to_its_own(postgres_server):
    postgres_server.stop()
    began = time.monotonic()
    assert ask(FreshnessCheck("crypto")) == ("degraded", "cannot tell without the database")
    assert time.monotonic() - began < 30
