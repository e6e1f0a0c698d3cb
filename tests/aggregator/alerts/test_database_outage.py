"""That the database is down, told once, though it cannot be kept in the database."""

import os
import subprocess
import sys
import threading
from concurrent.futures import wait
from dataclasses import replace

import pytest
from django.conf import settings
from django.db import connection

from aggregator.alerts import database_outage, delivery, watcher
from aggregator.background import DAEMONS
from aggregator.health.runner import check_runner
from aggregator.models import AlertChannel, AlertPolicy
from aggregator.worker import Worker as LoopsWorker
from tests.aggregator.ledger.samples import rows
from tests.servers import PROJECT, eventually, frozen

DOWN = "Signal Hub: the core database does not answer"
BACK = "Signal Hub: over: the core database answers again"

WORKER = """
import sys, django
django.setup()
from django.conf import settings
from aggregator.alerts import database_outage, delivery
delivery.WITHIN_S = 60
database_outage.HOLD_S = 0
database_outage.SHARED_FOLDERS = (sys.argv[2],)
one = database_outage.Blackout(settings.ENVIRONMENT)
for word in sys.stdin:
    getattr(one, word.strip())([delivery.Target("chat", sys.argv[1])])
    print("done", flush=True)
"""


class Worker:
    """A process of its own that is told what happens, a word at a time."""

    def __init__(self, url, folder, redis_url):
        command = [sys.executable, "-c", WORKER, url, folder]
        environment = dict(os.environ) | {"CORE_REDIS_URL": redis_url}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment, cwd=PROJECT, text=True, bufsize=1, **pipes)

    def say(self, word):
        self.process.stdin.write(f"{word}\n")

    def hear(self):
        assert self.process.stdout.readline() == "done\n"


@pytest.fixture(autouse=True)
def no_hold(monkeypatch, tmp_path):
    monkeypatch.setattr(database_outage, "HOLD_S", 0)
    monkeypatch.setattr(database_outage, "SHARED_FOLDERS", (str(tmp_path),))


@pytest.fixture
def targets(receiver):
    return [delivery.Target("chat", receiver.url)]


@pytest.fixture
def without_redis(free_port):
    """An environment whose Redis is down."""
    return replace(settings.ENVIRONMENT, redis_url=f"redis://127.0.0.1:{free_port}/0")


def everybody(workers, word, targets):
    for each in workers:
        getattr(each, word)(targets)


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_a_watcher_tells_that_the_database_is_down_and_back(channel, receiver, redis_client, postgres_server):
    AlertPolicy.current()
    rows("UPDATE alert_policy SET all_clear_on = '2999-01-01' RETURNING 1")
    check_runner.cache_clear()
    watchers = [watcher.AlertWatcher() for _ in range(3)]
    for each in watchers:
        each.look()
    assert receiver.titles == []
    assert not watchers[0]._blackout.note.path.exists()
    postgres_server.stop()
    connection.close()
    for _ in range(2):
        for each in watchers:
            assert each.look() is None
    assert receiver.titles == [DOWN]

    postgres_server.start()
    eventually(lambda: AlertChannel.objects.exists())
    for each in watchers:
        each.look()
    assert receiver.titles[1:] == [BACK]


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_a_watcher_tells_of_a_database_that_hangs(
    monkeypatch, channel, receiver, redis_client, postgres_server
):
    AlertPolicy.current()
    rows("UPDATE alert_policy SET all_clear_on = '2999-01-01' RETURNING 1")
    monkeypatch.setattr(watcher.AlertWatcher, "idle_interval_s", 0.1)
    monkeypatch.setattr(watcher, "PATIENCE_S", 0.2)
    check_runner.cache_clear()
    one, stop = watcher.AlertWatcher(), threading.Event()
    running = DAEMONS.submit(LoopsWorker({"alerts": lambda: one}, stop).run)
    eventually(lambda: one._targets)
    with frozen(postgres_server):
        eventually(lambda: receiver.titles == [DOWN], 30, "told that it is down")
    eventually(lambda: receiver.titles == [DOWN, BACK], 30, "told that it is back")
    stop.set()
    assert wait([running], 10).done


@pytest.fixture
def workers(receiver, free_port, tmp_path):
    """Three real processes that share nothing but the machine: Redis is down, too."""
    started = [Worker(receiver.url, str(tmp_path), f"redis://127.0.0.1:{free_port}/0") for _ in range(3)]
    yield started
    for worker in started:
        worker.process.kill()
        worker.process.communicate()


def at_once(workers, word):
    for worker in workers:
        worker.say(word)
    for worker in workers:
        worker.hear()


def test_workers_of_one_machine_tell_it_once_with_redis_down_too(receiver, workers):
    at_once(workers, "goes_on")
    at_once(workers, "goes_on")
    assert receiver.titles == [DOWN]
    at_once(workers, "is_over")
    at_once(workers, "is_over")
    assert receiver.titles == [DOWN, BACK]


def test_it_is_repeated_by_the_hour_by_whoever_is_first(monkeypatch, receiver, targets, without_redis):
    workers = [database_outage.Blackout(without_redis) for _ in range(2)]
    everybody(workers, "goes_on", targets)
    everybody(workers, "goes_on", targets)
    monkeypatch.setattr(database_outage, "REPEAT_S", 0)
    workers[1].goes_on(targets)
    assert receiver.titles == [DOWN, DOWN]


def test_redis_going_down_too_is_no_reason_to_tell_it_again(receiver, targets, redis_client, without_redis):
    with_redis = [database_outage.Blackout(settings.ENVIRONMENT) for _ in range(2)]
    alone = [database_outage.Blackout(without_redis) for _ in range(2)]
    everybody([*with_redis, *alone], "goes_on", targets)
    assert receiver.titles == [DOWN]
    # Other machines know as well: the end is told by whoever finds it in Redis, once Redis answers.
    everybody(alone, "is_over", targets)
    assert receiver.titles == [DOWN]
    everybody(with_redis, "is_over", targets)
    assert receiver.titles == [DOWN, BACK]


def test_two_hubs_on_one_machine_tell_it_each(receiver, targets, without_redis):
    other = replace(without_redis, core_db_url="postgres://elsewhere/hub")
    everybody([database_outage.Blackout(without_redis), database_outage.Blackout(other)], "goes_on", targets)
    assert receiver.titles == [DOWN, DOWN]


def test_a_folder_that_takes_no_file_leaves_each_worker_to_itself(
    monkeypatch, receiver, targets, without_redis, tmp_path
):
    monkeypatch.setattr(database_outage, "SHARED_FOLDERS", (str(tmp_path / "none"),))
    monkeypatch.setattr(database_outage.tempfile, "gettempdir", lambda: str(tmp_path / "none"))
    worker = database_outage.Blackout(without_redis)
    for word in ("goes_on", "goes_on", "is_over", "is_over"):
        everybody([worker], word, targets)
    assert receiver.titles == [DOWN, BACK]


def test_a_file_that_another_user_or_a_link_has_put_there_is_not_followed(
    receiver, targets, without_redis, tmp_path
):
    worker = database_outage.Blackout(without_redis)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    worker.note.path.symlink_to(victim)
    everybody([worker], "goes_on", targets)
    assert (victim.read_text(), receiver.titles) == ("precious", [DOWN])


def test_a_clock_that_was_set_back_does_not_silence_it(monkeypatch, receiver, targets, without_redis):
    worker = database_outage.Blackout(without_redis)
    everybody([worker], "goes_on", targets)
    real = database_outage.time.time
    monkeypatch.setattr(database_outage.time, "time", lambda: real() - 86_400)
    everybody([worker], "goes_on", targets)
    assert receiver.titles == [DOWN, DOWN]


def test_a_file_that_holds_something_else_is_written_anew(receiver, targets, without_redis):
    worker = database_outage.Blackout(without_redis)
    worker.note.path.write_bytes(b"\xff nothing of ours, and longer than any note")
    for word in ("goes_on", "goes_on", "is_over", "is_over"):
        everybody([worker], word, targets)
    assert receiver.titles == [DOWN, BACK]
