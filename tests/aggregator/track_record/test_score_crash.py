"""The scoring loop under kill -9, and run by several workers at once."""

from datetime import timedelta

import pytest
from django.db import connection

from tests.aggregator.track_record.recording import T0, insert, outcomes, put, query, score, signal

pytestmark = pytest.mark.django_db(transaction=True)

INSTRUMENTS = [f"K{number}/USDT" for number in range(8)]
EACH = 250
EVENTS = "SELECT position, state, exit_reason, exit_price, cause FROM outcome_events ORDER BY position, id"


def decided():
    return query("SELECT count(*) FROM outcomes WHERE state <> 'waiting'")[0]["count"]


def fill():
    """Record calls that stop, reach their target, or stay open, and their candles."""
    calls = [
        signal(
            symbol=instrument,
            action=("BUY", "SELL")[number % 2],
            entry_price=100,
            stop_loss=(97, 103)[number % 2],
            take_profit=(104, 96)[number % 2],
            timestamp=T0 + number * timedelta(minutes=3),
        )
        for number in range(EACH)
        for instrument in INSTRUMENTS
    ]
    for first in range(0, len(calls), 500):
        put(*calls[first : first + 500])
    for instrument in INSTRUMENTS:
        moves = [(100 + n % 7, 102 + n % 7, 99 + n % 5, 101 + n % 6) for n in range(3 * EACH - 3)]
        rows = [
            (T0 + n * timedelta(minutes=1), o, max(o, h, c), min(o, lo, c), c)
            for n, (o, h, lo, c) in enumerate(moves)
        ]
        insert(rows, instrument=instrument)


def test_kill_9_at_any_point_and_any_number_of_workers_give_the_same_rows(run_manage):
    fill()
    score()
    rows, all_events = outcomes(), query(EVENTS)
    assert len(rows) == EACH * len(INSTRUMENTS)
    assert {"closed", "missed", "unpriced"} <= {row["state"] for row in rows}
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE outcome_events DISABLE TRIGGER append_only; DELETE FROM outcome_events;"
            "ALTER TABLE outcome_events ENABLE TRIGGER append_only;"
            "DELETE FROM outcomes; DELETE FROM followers WHERE name = 'outcomes'"
        )
    workers = [run_manage("score") for _ in range(2)]
    workers[0].until(decided)
    for worker in workers:
        worker.process.kill()
        worker.process.wait()
    worker = run_manage("score", "--once")
    score()
    assert worker.process.wait() == 0
    score()
    assert outcomes() == rows
    assert query(EVENTS) == all_events
    ids = query(
        "SELECT array_agg(id ORDER BY decided_at) = array_agg(id ORDER BY id) AS ordered FROM outcome_events"
    )
    assert ids == [{"ordered": True}]
