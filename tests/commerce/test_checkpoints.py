from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from commerce import checkpoints
from commerce.models import Checkpoint
from tests.commerce.reading import pass_time, record

pytestmark = pytest.mark.django_db(transaction=True)


def positions():
    return list(Checkpoint.objects.order_by("position").values_list("position", flat=True))


def head():
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(position) FROM trading_signals")
        return cursor.fetchone()[0]


def test_an_empty_ledger_has_none():
    checkpoints.take()
    assert positions() == []
    assert checkpoints.window(timedelta(seconds=1), None) == checkpoints.Window(0, 0)


def test_a_quiet_ledger_gets_no_more_of_them():
    record("a")
    checkpoints.take()
    noted = Checkpoint.objects.get().recorded_at
    checkpoints.take()
    assert Checkpoint.objects.get().recorded_at == noted


def test_what_an_open_transaction_holds_is_not_counted():
    record("a")
    seen = head()
    with connection.cursor() as cursor:
        # A position that is drawn, but not committed, as a writer's is in the middle of its work.
        cursor.execute("SELECT nextval('trading_signals_position_seq')")
    checkpoints.take()
    assert positions() == [seen]


def test_each_delay_has_its_own_frontier():
    record("a")
    first = head()
    pass_time(timedelta(minutes=10))
    record("b")
    second = head()
    pass_time(timedelta(minutes=10))
    record("c")
    delays = [timedelta(0), timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=25)]
    assert list(checkpoints.frontiers(delays).values()) == [head(), second, first, 0]


def test_since_and_history_raise_the_floor():
    record("a")
    pass_time(timedelta(days=3))
    floor = head()
    record("b")
    now = timezone.now()
    assert checkpoints.window(timedelta(0), timedelta(days=2)).floor == floor
    assert checkpoints.window(timedelta(0), timedelta(days=4)).floor == 0
    assert checkpoints.window(timedelta(0), None, now - timedelta(days=1)).floor == floor
    assert checkpoints.window(timedelta(0), None, now - timedelta(days=5)).floor == 0


def test_old_ones_are_thinned_to_the_last_of_each_hour():
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=10)
    rows = [Checkpoint(position=n, recorded_at=hour + timedelta(minutes=20 * n)) for n in range(6)]
    rows.append(Checkpoint(position=100, recorded_at=timezone.now()))
    Checkpoint.objects.bulk_create(rows)
    assert checkpoints.thin() == 4
    assert positions() == [2, 5, 100]
