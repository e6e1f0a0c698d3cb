"""`celery -A config worker` and `celery -A config beat`: the same consumers, inside workers."""

import os
import sys
from urllib.parse import urlsplit

import pytest
import redis
from django.conf import settings
from django.db import connection

from aggregator.ingest.streams import GROUP
from aggregator.models import PeriodicJob, TradingSignal
from tests.aggregator.ledger.samples import insert, raw

STREAM = "core_signals:signals"


@pytest.mark.django_db(transaction=True)
def test_a_worker_consumes_streams_and_databases_and_beat_has_it_run_the_periodic_jobs(
    run_program, redis_client, tmp_path
):
    celery = [sys.executable, "-m", "celery", "-A", "config"]
    worker = run_program([*celery, "worker", "--concurrency", "1", "--loglevel", "INFO"])
    redis_client.xadd(STREAM, {"payload": raw("streamed")})
    with connection.cursor() as cursor:
        insert(cursor, "inserted")
    recorded = TradingSignal.objects.exclude(position=None)
    worker.until(lambda: recorded.filter(signal_id__in=["streamed", "inserted"]).count() == 2)
    assert "EventBus backend=memory" in worker.text
    assert [group["name"].decode() for group in redis_client.xinfo_groups(STREAM)] == [GROUP]
    assert not PeriodicJob.objects.exists()

    beat = run_program([*celery, "beat", "--schedule", str(tmp_path / "schedule"), "--loglevel", "INFO"])
    beat.until(lambda: PeriodicJob.objects.count() == len(settings.PERIODIC_JOBS))
    assert beat.stop() == 0
    assert worker.stop() == 0
    assert redis_client.xpending(STREAM, GROUP)["pending"] == 0
    assert "Traceback" not in worker.text


@pytest.mark.django_db(transaction=True)
def test_a_worker_takes_a_url_with_options_of_redis_py(run_program, redis_client):
    parts = urlsplit(os.environ["CORE_REDIS_URL"])
    url = parts._replace(path="", query="db=3&socket_timeout=5").geturl()
    worker = run_program(
        [sys.executable, "-m", "celery", "-A", "config", "worker", "--pool", "solo"], CORE_REDIS_URL=url
    )
    with redis.Redis.from_url(url) as third:
        worker.until(lambda: third.keys("signal_hub:celery:*"), 40, "the worker's queue")
        assert worker.stop(40) == 0
        third.flushdb()
    assert "Traceback" not in worker.text
