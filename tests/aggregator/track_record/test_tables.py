"""The tables of the track record, as anybody meets them who inserts candles by plain SQL."""

from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
from django.db import DataError, IntegrityError, ProgrammingError, connection, transaction

from aggregator.arrivals import retention
from tests.aggregator.ledger.samples import rows

pytestmark = pytest.mark.django_db

LEAST = {
    "ecosystem": "crypto",
    "instrument": "BTC/USDT",
    "opened_at": "2026-01-02T03:04:00Z",
    "open": "100",
    "high": "101",
    "low": "99",
    "close": "100.5",
}


def insert(**columns):
    row = LEAST | columns
    names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO candles ({names}) VALUES ({marks})", list(row.values()))


def test_seven_columns_are_enough_for_a_candle():
    insert()
    assert rows("SELECT seconds, volume, feed FROM candles") == [(60, 0, "manual")]


def test_prices_keep_every_digit():
    tiny = "0.0000000000000000000000000000000000000001"
    insert(open=tiny, high=tiny, low=tiny, close=tiny)
    assert rows("SELECT open FROM candles") == [(Decimal(tiny),)]


@pytest.mark.parametrize(
    "columns",
    [
        {"ecosystem": "bonds"},
        {"instrument": ""},
        {"opened_at": "infinity"},
        {"opened_at": "20000-01-01"},
        {"opened_at": "9999-12-31T23:59:59Z"},
        {"opened_at": "0044-03-15 BC"},
        {"opened_at": None},
        {"seconds": 0},
        {"low": "0"},
        {"low": "-1"},
        {"open": "101.5"},
        {"open": "98"},
        {"close": "98"},
        {"close": "102"},
        {"high": "NaN"},
        {"open": "NaN", "high": "NaN", "low": "NaN", "close": "NaN"},
        {"high": "1e18"},
        {"high": None},
        {"volume": "-1"},
        {"volume": "NaN"},
        {"feed": ""},
    ],
)
def test_a_candle_that_cannot_be_is_refused(columns):
    with pytest.raises((IntegrityError, DataError)):
        insert(**columns)


def test_a_candle_is_one_by_instrument_time_length_and_feed():
    insert()
    insert(seconds=300)
    insert(feed="binance")
    insert(ecosystem="stock")
    with pytest.raises(IntegrityError):
        insert(seconds=60, feed="manual")


def test_new_candles_request_scoring_by_any_role_that_inserts_them():
    names = "ecosystem, instrument, opened_at, open, high, low, close"
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE prices")
        cursor.execute(f"GRANT INSERT ({names}) ON candles TO prices")
        cursor.execute("SET LOCAL ROLE prices")
        cursor.execute(
            f"""INSERT INTO candles ({names})
            SELECT 'crypto', 'BTC/USDT', '2026-01-02Z'::timestamptz + n * interval '1 minute', 1, 1, 1, 1
            FROM generate_series(1, 9) AS n"""
        )
        cursor.execute("RESET ROLE")
    asked = "SELECT ecosystem, instrument, feed, seconds, first_at, last_at FROM scoring_requests"
    first, last = (datetime(2026, 1, 2, 0, minute, tzinfo=UTC) for minute in (1, 9))
    assert rows(asked) == [("crypto", "BTC/USDT", "manual", 60, first, last)]


@pytest.mark.parametrize("table", ["outcome_events", "agent_horizons"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET position = 1"])
def test_what_was_decided_is_append_only(table, statement):
    if table == "agent_horizons":
        statement = statement.replace("position", "hours")
    with pytest.raises(ProgrammingError) as caught, connection.cursor() as cursor:
        cursor.execute(statement.format(table))
    assert isinstance(caught.value.__cause__, psycopg.errors.InsufficientPrivilege)


def test_old_candles_go_unless_a_call_that_is_not_decided_needs_them():
    for instrument, opened_at in (("BTC/USDT", "2020-01-01T00:00Z"), ("ETH/USDT", "2020-01-01T00:00Z")):
        insert(instrument=instrument, opened_at=opened_at)
        insert(instrument=instrument, opened_at="2099-01-01T00:00Z")
        rows(
            "INSERT INTO priced_instruments (ecosystem, instrument) VALUES ('crypto', %s) RETURNING 1",
            instrument,
        )
    rows(
        """INSERT INTO outcomes (position, ecosystem, agent_source, instrument, side, simulated, t0, lag,
            fill_by, horizon_hours, fee_bps, rule_version)
        VALUES (1, 'crypto', 'a', 'ETH/USDT', 1, false, '2019-12-31', '1 s', '2020-01-02', 720, 10, 1)
        RETURNING 1"""
    )
    assert retention.prune({"candles": 400}) == {"candles": 1}
    assert rows("SELECT instrument, count(*) FROM candles GROUP BY 1 ORDER BY 1") == [
        ("BTC/USDT", 1),
        ("ETH/USDT", 2),
    ]
    assert retention.prune({"candles": None}) == {}
