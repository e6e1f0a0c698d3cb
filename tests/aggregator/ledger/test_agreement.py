"""`parse` and the table agree: what the one takes the other takes, and returns with the same content."""

import itertools
import json

import msgspec
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator import ledger
from aggregator.ingest.databases import DatabaseConsumer
from aggregator.ledger.entries import Entry
from aggregator.ledger.recording import MAX_INLINE
from aggregator.models import DeadLetter, TradingSignal
from ecosystems.bus import EventBus
from ecosystems.bus.database import DatabaseTransport
from ecosystems.signal import RULES, Signal, parse
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


ODD = {
    "a float's noise": {"stop_loss": 1.1610000500000001e-05, "entry_price": 0.1 + 0.2, "take_profit": 1e-7},
    "forty places": {"entry_price": f"0.{'1' * 40}", "volume": f"999999999999999999.{'9' * 40}"},
    "no stop, as MetaTrader writes it": {"stop_loss": 0.0, "take_profit": "0", "volume": 0.0},
    "every optional field unset": dict.fromkeys([*RULES][5:]),
    "line breaks and marks in a reason": {"raw_payload": {"why\n": "1.\tup\r\n2. \u200d\u202e\x07 é"}},
    "another script": {"symbol": "日経 225", "agent_source": "Бот №1"},
    "spaces": {"symbol": "Volatility 75 Index"},
    "lower case": {"action": "close", "signal_type": "limit", "refers_to": "s-0"},
    "no seconds": {"timestamp": "2026-01-02T12:00Z"},
    "an offset without a colon": {"timestamp": "2026-01-02 12:00:30+0200"},
    "a confidence above one": {"confidence": 1.0000000000000002},
    "one below zero": {"confidence": -1e-12},
}


@pytest.mark.parametrize("fields", ODD.values(), ids=ODD)
def test_what_real_senders_write_is_the_same_on_every_way_in(db, fields):
    least = {"ecosystem": "crypto", "timestamp": "2026-01-02T12:00:00Z", "symbol": "BTCUSDT", "action": "BUY"}
    given = least | fields

    def written(name):
        return json.dumps(given | {"signal_id": name}).encode()

    assert str(ledger.record([Entry(written("bytes"))], "redis")[0].fate) == "accepted"
    as_rows([given | {"signal_id": "row"}])
    settings = connection.settings_dict
    url = f"postgres://{settings['USER']}:{settings['PASSWORD']}@/{settings['NAME']}"
    url += f"?host={settings['HOST']}&port={settings['PORT']}"
    moment = parse(written("x")).timestamp
    native = given | {"timestamp": moment, "tags": given.get("tags") or ()}
    with EventBus([DatabaseTransport(url)]) as bus:
        bus.publish(Signal(signal_id="bus", **native))
    DatabaseConsumer("default").run_once()
    names = [name for name in RULES if name != "signal_id"]
    first, *others = TradingSignal.objects.order_by("pk").values(*names)
    assert len(others) == 2
    assert all(other == first for other in others), (first, others)
    kept = parse(written("x"))
    assert first == {name: getattr(kept, name) for name in names} | {"tags": list(kept.tags)}


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


QUOTED = {
    "the word for no value": {
        "symbol": "null",
        "agent_source": "null",
        "refers_to": "null",
        "tags": ["null"],
    },
    "an empty text": {"agent_source": "", "tags": [""]},
    "quotes and commas": {"symbol": 'a","b', "agent_source": '"', "tags": ['","', '"']},
    "escapes": {"symbol": "\\", "agent_source": '\\"', "tags": ["\\.", "\\n"], "refers_to": "\\."},
    "brackets": {"symbol": "],[", "agent_source": "]", "tags": ["]\\n["], "refers_to": "["},
    "a payload of all of them": {
        "raw_payload": {'"\\': ['\\"', "\\\\", "]\n[", "\\.", "null", None, "\u2028"]}
    },
}


def test_what_is_copied_is_what_was_sent(db):
    least = {"ecosystem": "crypto", "timestamp": "2026-01-02T12:00:00Z", "symbol": "BTCUSDT", "action": "BUY"}
    variants = [least | fields for fields in (ODD | QUOTED).values()]
    batch = [
        variants[number % len(variants)] | {"signal_id": f"s-{number}"} for number in range(MAX_INLINE + 60)
    ]
    entries = [Entry(json.dumps(fields).encode(), sender='"\\') for fields in batch]
    assert {str(result.fate) for result in ledger.record(entries, "redis")} == {"accepted"}
    for row, entry in zip(TradingSignal.objects.order_by("position"), entries, strict=True):
        sent = msgspec.structs.asdict(parse(entry.raw))
        sent["tags"] = list(sent["tags"])
        assert {name: getattr(row, name) for name in sent} == sent
        assert row.sender == entry.sender
