"""What is rolled up with each batch, and what is asked of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from aggregator.arrivals import queries
from aggregator.ledger import rollup_writer
from aggregator.models import ArrivalHour, ArrivalMinute, SymbolAlias


def ago(seconds):
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def test_hours_minutes_and_lags_add_up(record):
    record({"timestamp": ago(0.2)}, {"timestamp": ago(40)}, transport="redis")
    record({"timestamp": ago(40)}, {"action": "HODL"}, transport="redis")
    minutes = ArrivalMinute.objects.filter(agent_source="momentum", accepted__gt=0)
    assert sum(sum(minute.lags) for minute in minutes) == 3
    together = [sum(bucket) for bucket in zip(*(minute.lags for minute in minutes), strict=True)]
    assert together[rollup_writer.LAG_BOUNDS.index(60)] == 2
    hours = ArrivalHour.objects.filter(agent_source="momentum", transport="redis")
    assert sum(hour.accepted for hour in hours) == 3
    [refused] = ArrivalHour.objects.filter(agent_source="(refused)")
    assert (refused.ecosystem, refused.refused) == ("crypto", 1)


def test_the_questions_see_what_was_recorded(record):
    record({}, {}, transport="database")
    same = {"signal_id": "twice", "timestamp": ago(1)}
    record(same, same, transport="webhook")
    now = datetime.now(UTC)
    figures = queries.RollupCache().figures(now)
    assert figures["crypto", "database"].hour == 2
    assert sum(figures["crypto", "database"].lags) == 2
    assert (figures["crypto", "webhook"].day, figures["crypto", "webhook"].duplicates) == (1, 1)
    assert [*figures["crypto", "webhook"].by_hour.values()] == [1]
    together = figures["crypto", queries.ALL]
    assert (together.hour, together.day, together.duplicates, sum(together.lags)) == (3, 3, 1, 3)
    day = queries.agent_days([("crypto", "momentum")], now)["crypto", "momentum"]
    assert (day.accepted, day.transports) == (3, ["database", "webhook"])


def test_the_last_minute_slides(db):
    now = datetime.now(UTC).replace(second=45, microsecond=0)
    for minutes, count in ((0, 10), (1, 100), (2, 1000)):
        ArrivalMinute.objects.create(
            minute=now.replace(second=0) - timedelta(minutes=minutes),
            ecosystem="crypto", agent_source="a", transport="redis", accepted=count,
        )  # fmt: skip
    assert queries.RollupCache().figures(now)["crypto", "redis"].minute == 10 + 25


def test_what_is_past_is_read_once(db):
    now = datetime.now(UTC)
    for hours in (0, 30, 40):
        hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours)
        ArrivalHour.objects.create(
            hour=hour, ecosystem="stock", agent_source="a", transport="redis", accepted=hours, last_at=hour
        )
    memory = queries.RollupCache()

    def read(at=now):
        with CaptureQueriesContext(connection) as captured:
            figures = memory.figures(at)["stock", "redis"]
        assert len(captured) == 2
        return {*figures.by_hour.values()}

    assert read() == {0, 30, 40}
    ArrivalHour.objects.update(accepted=F("accepted") + 1)
    assert read() == {1, 30, 40}
    assert read(now + queries.TYPICAL_PERIOD - timedelta(hours=35)) == {1, 30}


def test_symbols_without_a_certain_name_are_noted_once(record):
    record({"symbol": "tBTCUSD"}, {"symbol": "tBTCUSD"}, {"symbol": "BTCUSDT"})
    record({"symbol": "tBTCUSD"})
    [alias] = SymbolAlias.objects.all()
    assert (alias.symbol, alias.instrument, alias.signals) == ("tBTCUSD", "", 3)


def test_queries_do_not_grow_with_the_batch(record):
    record({})

    def count_queries(count):
        with CaptureQueriesContext(
            connection,
        ) as captured:
            record(*({"agent_source": f"a{n}", "symbol": f"t{n}BTCUSD"} for n in range(count)))
        return len(captured)

    assert count_queries(2) == count_queries(200)


@pytest.mark.parametrize(
    ("lags", "share", "expected"),
    [
        ([], 0.5, None),
        ([4], 0.5, 0.025),
        ([0, 10], 0.5, 0.075),
        ([95, 0, 0, 0, 0, 0, 5], 0.95, 0.05),
        ([1] + [0] * 13 + [9], 0.5, float("inf")),
    ],
)
def test_percentiles_are_read_off_the_histogram(lags, share, expected):
    padded = lags + [0] * (len(rollup_writer.LAG_BOUNDS) + 1 - len(lags))
    found = queries.percentile(padded, share)
    assert found == (pytest.approx(expected) if expected else expected)
