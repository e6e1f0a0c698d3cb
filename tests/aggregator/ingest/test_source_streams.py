"""Sources that read a Redis stream of somebody else's: NautilusTrader's, JSON and msgpack."""

import json

import msgspec
import pytest
from django.conf import settings

from aggregator.ingest.source_streams import SourceStreamConsumer
from aggregator.ingest.streams import GROUP
from aggregator.ledger.replay import replay
from aggregator.models import DeadLetter, Source, TradingSignal
from aggregator.sources import tokens
from tests.aggregator.sources.made import made

pytestmark = pytest.mark.django_db(transaction=True)
STREAM = "trader-TRADER-001:stream"
AT = 1767323045123456789
EVENT = {"type": "ComponentStateChanged", "trader_id": "TRADER-001", "state": "RUNNING", "ts_event": str(AT)}


@pytest.fixture
def consumer(redis_client):
    consumer = SourceStreamConsumer(settings.ENVIRONMENT.redis_url)
    yield consumer
    consumer.close()


def signal(value, **fields):
    return {"type": "SignalAlpha", "value": value, "ts_event": str(AT), "ts_init": str(AT)} | fields


@pytest.fixture
def publish(redis_client):
    """Add an entry as NautilusTrader does: `publish(payload)`; `encode` and more fields where they differ."""

    def add(payload, topic="data.SignalAlpha*", encode=msgspec.json.encode, **fields):
        raw = payload if isinstance(payload, bytes) else encode(payload)
        redis_client.xadd(STREAM, {"topic": topic, "payload": raw, **fields})

    return add


def pending(redis_client):
    return redis_client.xpending(STREAM, GROUP)["pending"]


@pytest.mark.parametrize(
    ("encode", "fields"),
    [
        (msgspec.json.encode, {}),
        (msgspec.msgpack.encode, {}),
        (msgspec.json.encode, {"type": "SignalAlpha", "encoding": "json"}),
        (msgspec.msgpack.encode, {"type": "SignalAlpha", "encoding": "msgpack"}),
    ],
)
def test_signals_are_recorded_and_events_of_the_system_pass(publish, consumer, redis_client, encode, fields):
    made("nt", "nautilustrader", stream=STREAM, agent="scout")
    publish(EVENT, "events.system.DataEngine", encode, **fields)
    publish(signal("BUY BTCUSDT-PERP.BINANCE @ 64250.1"), encode=encode, **fields)
    publish(signal('{"action": "sell", "symbol": "ETHUSDT", "price": "3000.5"}'), encode=encode, **fields)
    assert consumer.run_once() == 3
    rows = TradingSignal.objects.order_by("position").values_list(
        "symbol", "action", "entry_price", "transport", "sender", "agent_source"
    )
    common = ("redis", "source:nt", "scout")
    assert [(symbol, action, str(price), *rest) for symbol, action, price, *rest in rows] == [
        ("BTCUSDT-PERP.BINANCE", "BUY", "64250.1", *common),
        ("ETHUSDT", "SELL", "3000.5", *common),
    ]
    assert TradingSignal.objects.first().timestamp.isoformat() == "2026-01-02T03:04:05.123456+00:00"
    assert not DeadLetter.objects.exists()
    assert pending(redis_client) == 0
    assert Source.objects.get().last_used_at is not None


def test_a_signal_whose_value_says_nothing_is_a_dead_letter_until_the_mapping_knows(
    publish, consumer, redis_client
):
    made("nt", "nautilustrader", stream=STREAM)
    publish(signal(1.25))
    publish(signal(-3), encode=msgspec.msgpack.encode)
    assert consumer.run_once() == 2
    assert (
        list(DeadLetter.objects.values_list("code", "stream", "sender"))
        == [("missing_field", STREAM, "source:nt")] * 2
    )
    mapping = """
skip = "!starts_with(topic, 'data.Signal')"
[fields]
symbol.default = "BTCUSDT"
timestamp = "payload.ts_event"
action = {from = "payload.value > `0` && 'buy' || 'sell'", values = {buy = "BUY", sell = "SELL"}}
"""
    Source.objects.update(mapping=mapping)
    replay(list(DeadLetter.objects.all()))
    assert set(TradingSignal.objects.values_list("action", flat=True)) == {"BUY", "SELL"}
    assert not DeadLetter.objects.filter(resolved_at=None).exists()


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1\xff", b"{", b"[" * 9000, b"\x81" * 9000, json.dumps([1]).encode(), b"\xc4\x01\xff", b"7"],
)
def test_an_entry_that_cannot_be_read_is_kept_and_stops_nothing(publish, consumer, redis_client, payload):
    made("nt", "nautilustrader", stream=STREAM)
    publish(payload)
    redis_client.xadd(STREAM, {"else": "x"})
    publish(signal("BUY BTCUSDT"))
    assert consumer.run_once() == 3
    assert DeadLetter.objects.count() == 1, "what has no topic of a signal is passed over"
    assert TradingSignal.objects.count() == 1
    assert pending(redis_client) == 0


def test_msgpack_of_any_depth_stops_nothing(publish, consumer):
    """Also one level short of what can be written: Python 3.12 has its own limit for it, near 1500."""
    made("nt", "nautilustrader", stream=STREAM)
    depths = [*range(900, 1010), *range(1450, 1550)]
    for depth in depths:
        publish(b"\x91" * depth + b"\x01")
    assert consumer.run_once() == len(depths)


def test_a_time_before_any_calendar_stops_nothing(publish, consumer, redis_client):
    made("nt", "nautilustrader", stream=STREAM)
    publish(signal("BUY BTCUSDT", ts_event="-99999999999"))
    assert consumer.run_once() == 1
    assert DeadLetter.objects.get().field == "timestamp"
    assert pending(redis_client) == 0


def test_sources_come_and_go_while_it_runs(publish, consumer, redis_client, monkeypatch):
    monkeypatch.setattr("aggregator.ingest.source_streams.SOURCES_INTERVAL_S", 0.0)
    publish(signal("BUY BTCUSDT"))
    assert consumer.run_once() == 0
    source, _ = made("nt", "nautilustrader", stream=STREAM)
    assert consumer.run_once() == 1
    tokens.revoke(source)
    publish(signal("BUY ETHUSDT"))
    assert consumer.run_once() == 0
    assert TradingSignal.objects.count() == 1


def test_large_entries_of_a_source_that_goes_stop_no_other(publish, consumer, redis_client, monkeypatch):
    monkeypatch.setattr("aggregator.ingest.source_streams.SOURCES_INTERVAL_S", 0.0)
    source, _ = made("nt", "nautilustrader", stream=STREAM)
    made("other", "nautilustrader", stream="other")
    for _ in range(24):
        publish(signal("BUY BTCUSDT", padding="x" * 900_000))
    assert 0 < consumer.run_once() < 24
    kept = DeadLetter.objects.count()
    tokens.revoke(source)
    redis_client.xadd("other", {"topic": "data.SignalAlpha*", "payload": json.dumps(signal("BUY ETHUSDT"))})
    for _ in range(3):
        consumer.run_once()
    assert TradingSignal.objects.get().sender == "source:other"
    assert DeadLetter.objects.count() == kept


def test_an_entry_of_an_impossible_time_stops_nothing(consumer, redis_client):
    made("nt", "nautilustrader", stream=STREAM)
    fields = {"topic": "data.SignalAlpha*", "payload": '{"value": "BUY BTCUSDT"}'}
    redis_client.xadd(STREAM, fields, id="18446744073709551615-18446744073709551615")
    assert consumer.run_once() == 1
    assert DeadLetter.objects.get().code == "out_of_range"
    replay(list(DeadLetter.objects.all()))
    assert pending(redis_client) == 0


def test_a_key_that_is_no_stream_stops_no_other_source(publish, consumer, redis_client, monkeypatch):
    made("wrong", "nautilustrader", stream="a-text")
    made("nt", "nautilustrader", stream=STREAM)
    redis_client.set("a-text", "no stream")
    publish(signal("BUY BTCUSDT"))
    assert consumer.run_once() == 1
    assert TradingSignal.objects.get().sender == "source:nt"


def test_the_worker_reads_it(publish, run_manage):
    made("nt", "nautilustrader", stream=STREAM)
    publish(signal("BUY BTCUSDT"))
    program = run_manage("run_worker", "--only", "source-streams")
    program.until(lambda: TradingSignal.objects.exists(), what="the signal is recorded")
    assert program.stop() == 0
