"""What a page costs, in pages of memory that the database touches: no clock is involved."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from aggregator.ledger import pager
from aggregator.models import TradingSignal
from commerce import entitlements, feed
from commerce.entitlements import Scope
from commerce.feed import Filters, listing, pages
from commerce.ledger_window import Window
from ecosystems import ECOSYSTEMS

pytestmark = pytest.mark.django_db

FILL = """
    INSERT INTO trading_signals
        (signal_id, ecosystem, "timestamp", symbol, action, agent_source, instrument, digest, position)
    SELECT 's' || n, 'crypto', now(), 'SYM', CASE WHEN n = 1 THEN 'SELL' ELSE 'BUY' END, 'bot', 'SYM',
        sha256(n::text::bytea), n
    FROM generate_series(%s, %s) AS n"""


@pytest.fixture(autouse=True)
def no_dead_rows(db):
    """What earlier tests took back stays in the table's files, and would be counted."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE trading_signals CASCADE")


def fill(first, last):
    with connection.cursor() as cursor:
        cursor.execute(FILL, [first, last])
        cursor.execute("ANALYZE trading_signals")


def nodes(plan):
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def explained(call):
    """The plans of the queries that `call` makes, with what they touched."""
    with CaptureQueriesContext(connection) as queries:
        call()
    plans = []
    for query in queries:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query['sql']}")
            found = cursor.fetchone()[0]
        plans.append((json.loads(found) if isinstance(found, str) else found)[0]["Plan"])
    return plans


def touched(plans):
    return sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans)


def test_a_page_touches_the_same_however_long_the_ledger_is():
    def costs():
        """A page at the start, in the middle and at the end."""
        last = Scope().window().frontier
        places = (0, last // 2, last - 500)
        return [touched(explained(lambda at=at: feed.read(Scope(), Filters(), at, 500))) for at in places]

    fill(1, 2_000)
    short = costs()
    fill(2_001, 40_000)
    long = costs()
    assert max(long) <= 1.3 * max(short)


def test_no_query_of_a_filter_that_finds_nothing_passes_more_than_a_step(monkeypatch):
    monkeypatch.setattr(pages, "PAGE_TIMEOUT_S", 60.0)
    fill(1, 40_000)
    plans = explained(lambda: feed.read(Scope(), Filters(action="HOLD"), 0, 500))
    scanned = [
        node["Rows Removed by Filter"]
        for plan in plans
        for node in nodes(plan)
        if "Rows Removed by Filter" in node
    ]
    assert sum(scanned) == 40_000
    assert max(scanned) <= pager.MAX_PASSED


def test_a_gap_of_any_size_is_passed_at_once():
    fill(1, 50)
    fill(2**62, 2**62 + 50)
    with CaptureQueriesContext(connection) as queries:
        page = feed.read(Scope(), Filters(action="HOLD"), 0, 500)
    assert not page.has_more
    assert page.position == 2**62 + 50
    assert len(queries) < 10


@pytest.mark.parametrize(
    ("scope", "wanted"),
    [
        (Scope(), Filters(instrument="RARE")),
        (Scope(), Filters(agent="rare")),
        (Scope(), Filters(agent="no")),
        (Scope(instruments=("RA?E",)), Filters()),
        (Scope(instruments=("*NO*",)), Filters()),
    ],
)
def test_what_is_rare_is_looked_up_by_id(scope, wanted, monkeypatch):
    monkeypatch.setattr(pager, "MAX_PASSED", 100)
    fill(1, 40_000)
    TradingSignal.objects.filter(position__in=range(500, 40_000, 1000)).update(
        instrument="RARE", agent_source="rare"
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE trading_signals")
    plans = explained(lambda: feed.read(scope, wanted, 0, 50))
    assert touched(plans) < 1_000
    assert all(node.get("Rows Removed by Filter", 0) <= 100 for plan in plans for node in nodes(plan))


def test_a_step_through_the_ledger_is_read_by_position_alone():
    """An index of instruments would be read for the whole ledger, for each step."""
    fill(1, 40_000)
    TradingSignal.objects.filter(position__in=range(5, 40_000, 20)).update(instrument="BTC/USDT")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE trading_signals")
    wanted = Filters(instrument="BTC/USDT", ecosystem="crypto")
    plans = explained(lambda: feed.read(Scope(instruments=("B*",)), wanted, 0, 500))
    used = {node.get("Index Name") for plan in plans for node in nodes(plan)}
    assert "trading_signals_instrument" not in used


@pytest.mark.parametrize("rare", [-1, 3, 100])
@pytest.mark.parametrize(
    ("scope", "wanted"),
    [
        (Scope(), Filters(instrument="RARE")),
        (Scope(), Filters(agent="rare")),
        (Scope(), Filters(instrument="RARE", agent="rare", action="BUY")),
        (Scope(instruments=("RA*",)), Filters()),
        (Scope(instruments=("RA*",)), Filters(agent="rare")),
    ],
)
def test_either_way_gives_the_same(scope, wanted, rare, monkeypatch):
    fill(1, 400)
    TradingSignal.objects.filter(position__in=range(7, 400, 11)).update(instrument="RARE")
    TradingSignal.objects.filter(position__in=range(5, 400, 7)).update(agent_source="rare")
    expected = list(
        TradingSignal.objects.filter(entitlements.scope_condition(scope), wanted.condition())
        .order_by("position")
        .values_list("position", flat=True)
    )
    monkeypatch.setattr(pager, "MAX_PASSED", 30)
    monkeypatch.setattr(pages, "MAX_RARE", rare)
    for limit in (1, 4, 500):
        found, page = [], feed.Page([], 0, has_more=True)
        while page.has_more:
            page = feed.read(scope, wanted, page.position, limit)
            assert len(page.signals) <= limit
            found += [signal.position for signal in page.signals]
        assert found == expected


@pytest.mark.parametrize("column", ["instrument", "agent_source"])
def test_a_listing_touches_the_same_however_long_the_ledger_is(column):
    def cost():
        return touched(explained(lambda: listing.page(Scope(), column, ECOSYSTEMS, None, 100)))

    fill(1, 2_000)
    short = cost()
    fill(2_001, 40_000)
    assert cost() <= 2 * short  # the index has one more level


def test_a_window_is_found_without_reading_the_ledger():
    fill(1, 40_000)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE trading_signals SET recorded_at = now() - (40000 - position) * interval '1 hour'"
        )
        cursor.execute("ANALYZE trading_signals")
    scope = Scope(delay=timedelta(hours=99.5), history=timedelta(hours=9999.5))
    assert scope.window() == Window(40_000 - 10_000, 40_000 - 100)
    assert touched(explained(scope.window)) < 300


def test_no_offset_and_no_count():
    fill(1, 50)
    with CaptureQueriesContext(connection) as queries:
        page = feed.read(Scope(), Filters(), 0, 10)
        feed.read(Scope(), Filters(), page.position, 10)
        listing.page(Scope(), "instrument", ["crypto"], None, 100)
    text = " ".join(query["sql"].upper() for query in queries)
    assert 'FROM "TRADING_SIGNALS"' in text
    assert "OFFSET" not in text
    assert "COUNT(" not in text
