"""The periodic work that reading needs: commerce.tasks.note_ledger and thin_checkpoints"""

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from commerce import tasks
from commerce.models import Checkpoint, FeedSeries
from tests.commerce.reading import record

pytestmark = pytest.mark.django_db(transaction=True)


def test_noting_takes_a_checkpoint_and_rolls_up():
    record("a")
    tasks.note_ledger()
    assert Checkpoint.objects.count() == 1
    assert FeedSeries.objects.get().instrument == "BTC/USDT"


def test_an_outage_ends_a_turn_and_no_more(postgres_server):
    postgres_server.stop()
    connection.close()
    tasks.note_ledger()
    postgres_server.start()
    connection.close()
    record("a")
    tasks.note_ledger()
    assert Checkpoint.objects.count() == 1


def test_thinning():
    hour = timezone.now().replace(minute=0) - timedelta(days=20)
    for minute in (1, 2):
        Checkpoint.objects.create(position=minute, recorded_at=hour + timedelta(minutes=minute))
    assert tasks.thin_checkpoints() == 1


def test_beat_starts_both():
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert {"commerce.tasks.note_ledger", "commerce.tasks.thin_checkpoints"} <= scheduled
