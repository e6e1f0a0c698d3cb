"""The notification that the database is down: each process sends it, at most once an hour."""

import subprocess
import sys
import threading

import pytest
from django.db import connection

from aggregator.alerts import delivery, watcher
from aggregator.background import run_in_thread
from aggregator.health.runner import check_runner
from aggregator.models import AlertChannel, AlertPolicy
from tests.aggregator.ledger.samples import rows
from tests.servers import PROJECT, eventually, frozen

DOWN = "Signal Hub: the core database does not answer"
BACK = "Signal Hub: resolved: the core database answers again"

PROCESS = """
import django, sys
django.setup()
from aggregator.alerts import delivery, watcher
from aggregator.alerts.watcher import AlertWatcher
watcher.HOLD_S = 0
delivery.SEND_TIMEOUT_S = 60
watcher = AlertWatcher()
for _ in sys.stdin:
    watcher.run_once()
    print("done", flush=True)
"""


class WatcherProcess:
    """A process of its own that evaluates the alerts once for each line that it gets."""

    def __init__(self, environment):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        command = [sys.executable, "-c", PROCESS]
        self.process = subprocess.Popen(command, env=environment, cwd=PROJECT, text=True, bufsize=1, **pipes)

    def start(self):
        self.process.stdin.write("\n")

    def finish(self):
        assert self.process.stdout.readline() == "done\n"


def run_at_once(processes):
    for each in processes:
        each.start()
    for each in processes:
        each.finish()


@pytest.fixture
def processes(program_environment, redis_client):
    environment = program_environment | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    started = [WatcherProcess(environment) for _ in range(2)]
    yield started
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def no_hold(monkeypatch):
    monkeypatch.setattr(watcher, "HOLD_S", 0)


@pytest.fixture
def quiet_policy(transactional_db):
    """A policy whose all-clear of today has been sent."""
    AlertPolicy.current()
    rows("UPDATE alert_policy SET all_clear_on = '2999-01-01' RETURNING 1")


@pytest.fixture
def targets(receiver):
    return [delivery.ChannelTarget("chat", receiver.url)]


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_each_process_notifies_once_and_once_that_it_is_over(
    quiet_policy, channel, receiver, processes, postgres_server
):
    run_at_once(processes)
    assert receiver.titles == []
    postgres_server.stop()
    connection.close()
    for _ in range(3):
        run_at_once(processes)
    assert receiver.titles == [DOWN, DOWN]

    postgres_server.start()
    eventually(lambda: AlertChannel.objects.exists())
    for _ in range(3):
        run_at_once(processes)
    assert receiver.titles[2:] == [BACK, BACK]


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_a_database_that_hangs_is_reported(
    monkeypatch, no_hold, quiet_policy, channel, receiver, redis_client, postgres_server
):
    monkeypatch.setattr(watcher, "EVALUATION_TIMEOUT_S", 3.0)
    check_runner.cache_clear()
    alerts, stop = watcher.AlertWatcher(), threading.Event()

    def run():
        while not stop.is_set():
            alerts.run_once()
            stop.wait(0.1)

    alerts.run_once()
    running = run_in_thread(run)
    before = threading.active_count()
    with frozen(postgres_server):
        eventually(lambda: receiver.titles == [DOWN], 60, "notified that it is down")
        assert threading.active_count() < before + 30, "attempts that hang pile up"
    eventually(lambda: receiver.titles == [DOWN, BACK], 60, "notified that it is back")
    stop.set()
    running.result(60)


def test_nothing_is_sent_before_it_has_lasted(monkeypatch, receiver, targets):
    monkeypatch.setattr(watcher, "HOLD_S", 60)
    outage = watcher.DatabaseOutage()
    outage.continues(targets)
    outage.is_over(targets)
    assert receiver.titles == []


def test_it_is_repeated_by_the_hour(monkeypatch, no_hold, receiver, targets):
    outage = watcher.DatabaseOutage()
    outage.continues(targets)
    outage.continues(targets)
    assert receiver.titles == [DOWN]
    monkeypatch.setattr(watcher, "REPEAT_INTERVAL_S", 0.0)
    outage.continues(targets)
    assert receiver.titles == [DOWN, DOWN]


def test_a_database_that_goes_again_and_again_is_reported_once_an_hour(no_hold, receiver, targets):
    outage = watcher.DatabaseOutage()
    for _ in range(3):
        outage.continues(targets)
        outage.is_over(targets)
    assert receiver.titles == [DOWN, BACK]


def test_an_end_is_reported_by_no_process_that_could_not_report_the_outage(no_hold, receiver, targets):
    """It started during the outage, and has read no channels."""
    outage = watcher.DatabaseOutage()
    outage.continues([])
    outage.is_over(targets)
    assert receiver.titles == []
