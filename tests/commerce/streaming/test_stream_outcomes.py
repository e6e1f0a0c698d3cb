"""`outcome.decided` on the stream: under the call's entitlement, delay and quota, resumed without a gap."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from aggregator.ledger.generations import begin_generation
from commerce import ledger_window
from commerce.entitlements import Scope
from commerce.feed import NO_FILTERS, cursors
from commerce.models import UsageDay
from commerce.streaming.broadcaster import NO_DELAY, read_events
from tests.aggregator.track_record.recording import call, candle_rows, insert, score
from tests.commerce.feed.reading import Reader, grant
from tests.commerce.streaming.stream_client import EventSource, granian
from tests.servers import free_port, serve

pytestmark = pytest.mark.django_db(transaction=True)
START = cursors.encode(0)
BRACKET = {"entry_price": 100, "stop_loss": 98, "take_profit": 104}
TARGET = "100.5/101/100/101 · 101/104.5/101/104"


@pytest.fixture(scope="module")
def url(run_shared):
    return serve(run_shared, granian, free_port())


def customer(**plan):
    return grant(simulated=True, **plan).value


def decide(symbol="BTC/USDT", prices=TARGET, **fields):
    """Record a call and have it decided; return its id."""
    signal_id = call(symbol=symbol, **BRACKET | fields)
    insert(candle_rows(prices), instrument=symbol)
    score()
    return signal_id


def summary(events):
    return [(event.kind, event.data["signal_id"]) for event in events]


def test_it_comes_behind_its_call_as_webhooks_get_it_and_again_where_late_prices_change_it(url):
    key = customer()
    source = EventSource(url, key)
    source.wait_for_id()
    prices = candle_rows("100.5/101/100/101 · 101/102/97/99 · 101/105/100.9/104.5")
    signal_id = call(**BRACKET)
    insert([prices[0], prices[2]])
    score()
    first, second = source.take(2)
    assert summary([first, second]) == [("signal", signal_id), ("outcome.decided", signal_id)]
    assert second.data["exit_reason"] == "target"
    insert([prices[1]])
    score()
    (third,) = source.take(1)
    assert (third.kind, third.data["exit_reason"]) == ("outcome.decided", "stop")
    assert third.data == Reader(key).get("outcomes").json()["outcomes"][0]
    assert UsageDay.objects.get().signals == 4


def test_every_id_is_one_to_go_on_from_that_skips_and_repeats_nothing(url):
    key = customer()
    EventSource(url, key).wait_for_id()
    one, two = decide(), decide("ETH/USDT", "100.5/105/97/99")
    three = call(symbol="SOL/USDT", tags=[])  # waits; one of January would soon be unpriced
    source = EventSource(url, key, START)
    events = source.take(5)
    signals = [("signal", signal_id) for signal_id in (one, two, three)]
    assert summary(events) == [*signals, ("outcome.decided", one), ("outcome.decided", two)]
    for number, event in enumerate(events[:-1], start=1):
        rest = EventSource(url, key, event.id).take(len(events) - number)
        assert [(each.kind, each.data, each.id) for each in rest] == [
            (each.kind, each.data, each.id) for each in events[number:]
        ]
    again = EventSource(url, key, events[-1].id)
    assert again.wait_for_id() == events[-1].id
    four = decide("XRP/USDT")
    assert summary(again.take(2)) == [("signal", four), ("outcome.decided", four)]
    # An id is a cursor of the feed, too.
    assert Reader(key).ids(after=events[1].id) == [three, four]


def test_a_cursor_of_the_feed_goes_on_with_what_was_decided_since(url):
    key = customer()
    decide()
    with connection.cursor() as cursor:  # as if it had been recorded and decided an hour ago
        cursor.execute("UPDATE trading_signals SET recorded_at = recorded_at - interval '1 hour'")
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE outcome_events SET decided_at = decided_at - interval '59 minutes'")
        cursor.execute("SET session_replication_role = origin")
    two = decide("ETH/USDT")
    after = Reader(key).page()["next"]
    three = decide("SOL/USDT")
    found = summary(EventSource(url, key, after).take(3))
    assert found == [("signal", three), ("outcome.decided", two), ("outcome.decided", three)]


def test_the_plan_the_filters_and_the_quota_hold_for_them(url):
    one, two = decide(), decide("ETH/USDT")
    mine = summary(EventSource(url, customer(instruments=["ETH/*"]), START).take(2))
    assert mine == [("signal", two), ("outcome.decided", two)]
    filtered = summary(EventSource(url, customer(), START, "?instrument=BTC/USDT").take(2))
    assert filtered == [("signal", one), ("outcome.decided", one)]
    real = call(tags=[])
    assert summary(EventSource(url, grant().value, START).take(1)) == [("signal", real)]
    limited = EventSource(url, customer(signals_per_day=4), START)
    *events, end = list(limited)
    signals = [("signal", signal_id) for signal_id in (one, two, real)]
    assert summary(events) == [*signals, ("outcome.decided", one)]
    assert end.data["code"] == "signals_used_up"
    assert limited.last_event_id == events[-1].id


def test_a_plans_delay_holds_them_back(url):
    key = customer(delay=timedelta(hours=1))
    source = EventSource(url, key, START)
    source.wait_for_id()
    signal_id = decide()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE trading_signals SET recorded_at = recorded_at - interval '61 minutes'")
    events = iter(source)
    assert next(events).kind == "signal"
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE outcome_events SET decided_at = decided_at - interval '61 minutes'")
        cursor.execute("SET session_replication_role = origin")
    assert summary([next(events)]) == [("outcome.decided", signal_id)]


def test_a_reader_may_leave_them_out(url):
    decide()
    key = customer()
    source = EventSource(url, key, START, "?outcomes=false")
    (event,) = source.take(1)
    assert (event.kind, event.id) == ("signal", event.data["cursor"])
    two = decide("ETH/USDT")
    assert summary(source.take(1)) == [("signal", two)]


def test_after_a_restore_ids_of_before_skip_nothing_that_is_decided_later(url):
    key = customer()
    decide()
    last = EventSource(url, key, START).take(2)[1].id
    begin_generation()
    two = decide("ETH/USDT")
    found = EventSource(url, key, last).take(2)
    assert summary(found) == [("signal", two), ("outcome.decided", two)]
    assert cursors.decode_place(found[1].id).decided > time.time() * 1e6 - 1e12


def test_a_reader_that_is_cut_off_again_and_again_gets_everything_once_while_calls_are_decided(url):
    key, last, seen = customer(), START, []
    symbols = [f"COIN{number}/USDT" for number in range(25)]

    def work():
        for symbol in symbols:
            decide(symbol)
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    while len(seen) < 2 * len(symbols):
        source = EventSource(url, key, last)
        for event in source.take(min(3, 2 * len(symbols) - len(seen))):
            seen.append((event.kind, event.data["instrument"]))
            last = event.id
        source.close()
    worker.join()
    assert sorted(seen) == sorted((kind, each) for each in symbols for kind in ("signal", "outcome.decided"))
    for symbol in symbols:
        assert seen.index(("signal", symbol)) < seen.index(("outcome.decided", symbol))


def test_a_page_of_them_takes_no_query_for_each():
    wanted = {decide(symbol) for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT")}
    frontier = ledger_window.frontiers([NO_DELAY])[NO_DELAY]
    with CaptureQueriesContext(connection) as captured:
        page = read_events(Scope(simulated=True), NO_FILTERS, frontier._replace(decided=0), frontier)
    assert len(page.events) == len(wanted)
    assert len(captured) == 3, "the events, the window, and the calls"
