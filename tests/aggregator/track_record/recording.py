"""Calls on the ledger, candles by plain SQL, and the outcomes that the scorer makes of them."""

import itertools
import json
from datetime import UTC, datetime, timedelta

from django.db import connection

from aggregator.ledger import Entry, record
from aggregator.track_record.scorer import Scorer

T0 = datetime(2026, 1, 5, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NUMBERS = itertools.count(1)

COLUMNS = (
    "position, state, exit_reason, entered_at, entry_price, exited_at, exit_price, gross_return, net_return, "
    "r_multiple, mfe_r, mae_r, ambiguous, scored_to, horizon_hours, rule_version"
)


def signal(**fields):
    """Return a signal, simulated at T0 unless it says otherwise."""
    return {
        "signal_id": f"call-{next(NUMBERS)}",
        "ecosystem": "crypto",
        "timestamp": T0.isoformat(),
        "symbol": "BTC/USDT",
        "action": "BUY",
        "agent_source": "bot",
        "tags": ["replay"],
    } | {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}


def put(*signals):
    """Record signals in this order; return the ids."""
    results = record([Entry(json.dumps(each).encode()) for each in signals], "webhook")
    assert {result.fate for result in results} <= {"accepted"}, [each.refusal for each in results][:3]
    return [each["signal_id"] for each in signals]


def call(**fields):
    """Record one signal; return its id."""
    return put(signal(**fields))[0]


def candle_rows(text, start=T0 + timedelta(seconds=30)):
    """Return times and prices of minute candles, written as in the worked examples."""
    return [
        (start + number * MINUTE, *each.split("/")) for number, each in enumerate(text.split(" · "), start=0)
    ]


def insert(rows, *, ecosystem="crypto", instrument="BTC/USDT", seconds=60, feed="manual"):
    """Insert candles in one statement; what is there already stays."""
    columns = ("opened_at", "open", "high", "low", "close")
    given = [dict(zip(columns, (row[0].isoformat(), *map(str, row[1:])), strict=True)) for row in rows]
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO candles (ecosystem, instrument, seconds, feed, opened_at, open, high, low, close)
            SELECT %s, %s, %s, %s, opened_at, open, high, low, close FROM json_to_recordset(%s::json)
                AS given (opened_at timestamptz, open numeric, high numeric, low numeric, close numeric)
            ON CONFLICT DO NOTHING""",
            [ecosystem, instrument, seconds, feed, json.dumps(given)],
        )


def score():
    """Score until nothing is left to do."""
    scorer = Scorer()
    while scorer.run_once():
        pass


def query(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def outcomes():
    """Return all rows, by position."""
    return query(f"SELECT {COLUMNS} FROM outcomes ORDER BY position")


def outcome(signal_id):
    """Return the row of a call."""
    (found,) = query(
        "SELECT outcomes.* FROM outcomes JOIN trading_signals USING (position) WHERE signal_id = %s",
        signal_id,
    )
    return found


def events(signal_id):
    """Return the events of a call."""
    return query(
        "SELECT outcome_events.* FROM outcome_events JOIN trading_signals USING (position) "
        "WHERE signal_id = %s ORDER BY outcome_events.id",
        signal_id,
    )
