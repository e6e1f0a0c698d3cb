"""`celery -A config worker` and `celery -A config beat`: the same consumers, inside workers."""

import sys

import pytest
from django.db import connection

from aggregator.doors.streams import GROUP
from aggregator.models import TradingSignal
from tests.aggregator.samples import insert, raw

STREAM = "core_signals:signals"


@pytest.mark.django_db(transaction=True)
def test_a_worker_consumes_the_streams_and_beat_has_it_record_inserted_rows(
    run_program, redis_client, tmp_path
):
    celery = [sys.executable, "-m", "celery", "-A", "config"]
    worker = run_program([*celery, "worker", "--concurrency", "1", "--loglevel", "INFO"])
    redis_client.xadd(STREAM, {"payload": raw("streamed")})
    worker.until(TradingSignal.objects.filter(signal_id="streamed").exists)
    assert "EventBus backend=memory" in worker.text
    assert [group["name"].decode() for group in redis_client.xinfo_groups(STREAM)] == [GROUP]

    beat = run_program([*celery, "beat", "--schedule", str(tmp_path / "schedule"), "--loglevel", "INFO"])
    with connection.cursor() as cursor:
        insert(cursor, "inserted")
    recorded = TradingSignal.objects.exclude(position=None)
    beat.until(recorded.filter(signal_id="inserted").exists)
    assert beat.stop() == 0
    assert worker.stop() == 0
    assert redis_client.xpending(STREAM, GROUP)["pending"] == 0
    assert "Traceback" not in worker.text
