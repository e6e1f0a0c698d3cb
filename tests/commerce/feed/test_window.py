from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from aggregator.models import TradingSignal
from commerce import ledger_window
from tests.commerce.feed.reading import pass_time, record

pytestmark = pytest.mark.django_db(transaction=True)


def head():
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(position) FROM trading_signals")
        return cursor.fetchone()[0]


def test_an_empty_ledger_has_no_window():
    nothing = ledger_window.Window(0, 0)
    assert ledger_window.window(timedelta(0), None) == nothing
    assert ledger_window.window(timedelta(seconds=1), timedelta(days=1)) == nothing


def test_positions_without_a_row_belong_to_no_moment():
    record("a")
    with connection.cursor() as cursor:
        # Drawn and not committed, as a writer's is in the middle of its work.
        cursor.execute("SELECT nextval('trading_signals_position_seq')")
    seen = head()
    pass_time(timedelta(minutes=1))
    assert ledger_window.window(timedelta(seconds=1), None).frontier == seen


def test_each_delay_has_its_own_frontier():
    record("a")
    first = head()
    pass_time(timedelta(minutes=10))
    record("b")
    second = head()
    pass_time(timedelta(minutes=10))
    record("c")
    delays = [timedelta(0), timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=25)]
    found = [place.position for place in ledger_window.frontiers(delays).values()]
    assert found[:3] == [head(), second, first]
    assert found[3] < first


def test_since_and_history_raise_the_floor():
    record("a")
    pass_time(timedelta(days=3))
    floor = head()
    record("b")
    now = timezone.now()
    assert ledger_window.window(timedelta(0), timedelta(days=2)).floor == floor
    assert ledger_window.window(timedelta(0), timedelta(days=4)).floor < floor
    assert ledger_window.window(timedelta(0), None, now - timedelta(days=1)).floor == floor
    assert ledger_window.window(timedelta(0), None, now - timedelta(days=5)).floor < floor


def test_each_moment_is_found_among_many_positions_with_gaps():
    record(*[f"s{number}" for number in range(60)])
    TradingSignal.objects.filter(signal_id__in=[f"s{number}" for number in range(20, 31)]).delete()
    now = timezone.now()
    rows = list(TradingSignal.objects.order_by("position"))
    for minutes, row in enumerate(reversed(rows), start=1):
        row.recorded_at = now - timedelta(minutes=minutes)
        row.save(update_fields=["recorded_at"])
    for minutes, row in enumerate(reversed(rows), start=1):
        delay = timedelta(minutes=minutes) - timedelta(seconds=30)
        frontier = ledger_window.window(delay, None).frontier
        visible = TradingSignal.objects.filter(position__lte=frontier).order_by("-position").first()
        assert visible == row
