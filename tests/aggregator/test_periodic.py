"""Periodic jobs: each runs once an interval, however many workers offer to, with Celery and without."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from aggregator import tasks, worker_states
from aggregator.ledger.errors import Outage
from aggregator.models import PeriodicJob, WorkerLoop
from aggregator.periodic import PeriodicJobs
from commerce.models import Subscription
from tests.commerce.feed.reading import customer

pytestmark = pytest.mark.django_db(transaction=True)

RAN: list[str] = []
HERE = "tests.aggregator.test_periodic"


def ran(name):
    RAN.append(name)


def broken():
    raise ZeroDivisionError


@pytest.fixture(autouse=True)
def fresh():
    RAN.clear()


def run_due():
    jobs = PeriodicJobs()
    count = 0
    while jobs.run_once():
        count += 1
    return count


def hours_pass(hours):
    for job in PeriodicJob.objects.all():
        PeriodicJob.objects.filter(pk=job.pk).update(last_run_at=job.last_run_at - timedelta(hours=hours))


def test_a_job_runs_at_once_and_then_once_an_interval(settings):
    settings.PERIODIC_JOBS = {
        "hourly": (f"{HERE}.ran", 3600.0, "hourly"),
        "daily": (f"{HERE}.ran", 86_400.0, "daily"),
    }
    assert (run_due(), RAN) == (2, ["hourly", "daily"])
    assert run_due() == 0
    hours_pass(2)
    assert run_due() == 1
    assert RAN == ["hourly", "daily", "hourly"]


def test_workers_that_race_run_a_job_once(settings):
    settings.PERIODIC_JOBS = {f"job-{n}": (f"{HERE}.ran", 3600.0, f"job-{n}") for n in range(10)}
    together = threading.Barrier(4)

    def race(_number):
        together.wait(60)
        try:
            return run_due()
        finally:
            connection.close()

    for _ in range(5):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(race, range(4)))
        run_due()  # one that lost a race leaves the rest for its next look
        assert sorted(RAN) == sorted(settings.PERIODIC_JOBS)
        RAN.clear()
        hours_pass(2)


def test_a_job_that_fails_keeps_no_other_from_running(settings):
    settings.PERIODIC_JOBS = {"broken": (f"{HERE}.broken", 60.0), "sound": (f"{HERE}.ran", 60.0, "sound")}
    with pytest.raises(ZeroDivisionError):
        run_due()
    assert run_due() == 1
    assert RAN == ["sound"]


def test_an_outage_is_an_outage(postgres_server):
    postgres_server.stop()
    connection.close()
    with pytest.raises(Outage):
        run_due()
    tasks.run_periodic_jobs()
    postgres_server.start()
    connection.close()
    assert run_due() == len(settings.PERIODIC_JOBS)


def test_the_hubs_jobs_run_without_celery():
    over = customer().subscriptions
    over.update(ends_at=datetime.now(UTC) - timedelta(minutes=1))
    call_command("run_worker", "--only", "periodic", "--once")
    assert over.get().state == Subscription.State.EXPIRED
    assert set(PeriodicJob.objects.values_list("name", flat=True)) == set(settings.PERIODIC_JOBS)


def test_celerys_task_runs_what_is_due_and_leaves_a_sign_of_life():
    tasks.run_periodic_jobs()
    assert set(PeriodicJob.objects.values_list("name", flat=True)) == set(settings.PERIODIC_JOBS)
    assert WorkerLoop.objects.get().loop == "periodic"
    assert run_due() == 0


def test_workers_of_long_ago_are_forgotten_but_not_the_last_host_of_a_loop():
    def seen(worker, loop, hours):
        at = datetime.now(UTC) - timedelta(hours=hours)
        WorkerLoop.objects.create(worker=worker, loop=loop, seen_at=at, ok_at=at, crashes=0, problem="")

    seen("one-1", "streams", 30)
    seen("two-2", "streams", 50)
    seen("three-3", "alerts", 30)
    seen("four-4", "alerts", 1)
    assert worker_states.delete_old_states() == 2
    left = WorkerLoop.objects.values_list("worker", flat=True)
    assert sorted(left) == ["four-4", "one-1"]
