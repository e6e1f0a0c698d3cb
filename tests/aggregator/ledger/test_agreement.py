"""`parse` and the table agree: what the one takes the other takes, and gives back with the same content."""

import itertools
import json

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator import ledger
from aggregator.ingest.databases import DatabaseConsumer
from aggregator.ledger.entries import Entry
from aggregator.models import DeadLetter, TradingSignal
from ecosystems.signal import parse
from tests.ecosystems.test_signal import wire_signals

pytestmark = pytest.mark.django_db(transaction=True)
numbers = itertools.count(1)
unhurried = settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
COLUMNS = (
    'signal_id, ecosystem, "timestamp", symbol, action, signal_type, entry_price, stop_loss, take_profit, '
    "volume, confidence, agent_source, tags, raw_payload, refers_to"
)


def renumbered(batch):
    return [fields | {"signal_id": f"s-{next(numbers)}"} for fields in batch]


def as_rows(batch):
    """INSERT what was on the wire as an agent does, each column from its JSON."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO trading_signals ({COLUMNS}) SELECT {COLUMNS} "
            "FROM jsonb_populate_recordset(NULL::trading_signals, %s::jsonb)",
            [json.dumps(batch, default=str)],
        )


@unhurried
@given(st.lists(wire_signals, min_size=1, max_size=8).map(renumbered))
def test_a_signal_is_the_same_over_a_transport_and_as_a_row(db, batch):
    as_rows(batch)
    DatabaseConsumer("default").run_once()
    raws = [json.dumps(fields, default=str).encode() for fields in batch]
    digests = TradingSignal.objects.filter(signal_id__in=[fields["signal_id"] for fields in batch])
    assert {bytes(row.digest) for row in digests} == {parse(raw).digest() for raw in raws}
    results = ledger.record([Entry(raw) for raw in raws], "redis")
    assert {str(result.fate) for result in results} == {"duplicate"}


@unhurried
@given(st.lists(wire_signals, min_size=1, max_size=8).map(renumbered))
def test_what_parse_takes_the_table_takes(db, batch):
    entries = [Entry(json.dumps(fields, default=str).encode()) for fields in batch]
    assert {str(result.fate) for result in ledger.record(entries, "webhook")} == {"accepted"}


@pytest.mark.parametrize("number", ["1e-401", "1e5000", "-1e-5000", "9" * 60_000])
def test_a_row_that_parse_alone_refuses_becomes_a_dead_letter(db, number):
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action, raw_payload) '
            "VALUES ('s-1', 'crypto', '2026-01-02T03:04:05Z', 'X', 'BUY', %s::jsonb)",
            [f'{{"x": {number}}}'],
        )
    assert DatabaseConsumer("default").run_once() == 1
    assert not TradingSignal.objects.exists()
    assert DeadLetter.objects.get().code == "out_of_range"
