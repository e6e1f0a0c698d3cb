import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from ecosystems import env
from ecosystems.bus import BusError, EventBus, InvalidSignal, Unsent, Unsupported
from ecosystems.bus.database import DatabaseTransport
from ecosystems.bus.memory import MemoryTransport
from ecosystems.bus.transport import Entry, Transport
from ecosystems.bus.webhook import WebhookTransport
from ecosystems.signal import Signal
from tests.ecosystems.bus.receiver import Receiver, problem
from tests.ecosystems.examples import a_signal, signals


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> env.Environment:
    """An environment in which nothing of the bus is set."""
    for name in ("CORE_DB_URL", "CORE_FOREX_DB_URL", "CORE_REDIS_URL", "CORE_EVENT_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return env.load()


@pytest.fixture
def bus() -> EventBus:
    return EventBus([MemoryTransport()])


def test_subscribers_get_each_signal_of_their_topic_in_order(bus):
    seen: list[tuple[str, str]] = []
    bus.subscribe(lambda signal: seen.append(("first", signal.signal_id)))
    unsubscribe = bus.subscribe(lambda signal: seen.append(("second", signal.signal_id)))
    bus.subscribe(lambda signal: seen.append(("trades", signal.signal_id)), topic="executed_trades")

    bus.publish(a_signal("a"))
    unsubscribe()
    bus.publish(a_signal("b"))
    bus.publish(a_signal("c"), topic="executed_trades")

    assert seen == [("first", "a"), ("second", "a"), ("first", "b"), ("trades", "c")]


def test_a_subscriber_that_fails_harms_neither_neighbours_nor_publisher(bus, caplog):
    seen: list[str] = []

    def failing(signal: object) -> None:
        raise ValueError("a subscriber's own mistake")

    bus.subscribe(failing)
    bus.subscribe(lambda signal: seen.append(signal.signal_id))

    assert bus.publish(a_signal()).complete
    assert seen == ["s-1"]
    assert "a subscriber failed on crypto/s-1" in caplog.text


def test_a_subscriber_may_publish(bus):
    """In a thread, which a bus that waits for itself does not stop the test by."""
    seen: list[str] = []

    def answer(signal: Signal) -> None:
        seen.append(signal.signal_id)
        if signal.signal_id == "question":
            bus.publish(a_signal("answer"))

    bus.subscribe(answer)
    publisher = threading.Thread(target=bus.publish, args=[a_signal("question")], daemon=True)
    publisher.start()
    publisher.join(10)
    assert seen == ["question", "answer"]
    assert not publisher.is_alive()


def test_subscribers_see_the_normalised_signal(bus):
    seen: list[object] = []
    bus.subscribe(seen.append)
    bus.publish(a_signal(action="sell", entry_price=Decimal("1.500")))
    assert seen == [a_signal(action="SELL", entry_price=Decimal("1.5"))]


def test_publishing_nothing_is_fine(bus):
    assert bus.publish_many([]).confirmed == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"signal_id": "no spaces"}, "signal_id must be 1 to 128 printable ASCII characters"),
        ({"ecosystem": "bonds"}, "ecosystem must be one of"),
        ({"timestamp": datetime.now(UTC) + timedelta(hours=1)}, "timestamp must be"),
        ({"entry_price": Decimal(-1)}, "entry_price must be null .or 0., or a decimal above 0"),
        ({"entry_price": Decimal("NaN")}, "not JSON"),
        ({"entry_price": float("nan")}, "NaN or an infinity"),
        ({"confidence": float("nan")}, "NaN or an infinity"),
        ({"confidence": 1.01}, "confidence must be"),
        ({"raw_payload": {"deep": [1, {"x": float("inf")}]}}, "NaN or an infinity"),
        ({"raw_payload": {"x": object()}}, "no JSON form"),
        ({"agent_source": "\ud800"}, "no JSON form"),
        ({"tags": ("nul \0",)}, "control, invisible or bidirectional character"),
        ({"raw_payload": {"x": "y" * 70_000}}, "raw_payload must be"),
    ],
)
def test_an_invalid_signal_stops_the_whole_call(bus, fields, reason):
    seen: list[object] = []
    bus.subscribe(seen.append)
    bad = a_signal(**({"signal_id": "bad"} | fields))
    with pytest.raises(InvalidSignal, match=reason):
        bus.publish_many([a_signal("good"), bad])
    assert seen == []


def test_nulls_in_the_payload_are_no_reason_to_refuse(bus):
    assert bus.publish(a_signal(raw_payload={"a": None, "b": [None, "null"]}, volume=None)).complete


def test_two_transports_fail_and_confirm_apart(url):
    with Receiver() as hub:
        hub.script.append(problem(503, "unavailable", "later"))
        transports: list[Transport] = [WebhookTransport(hub.url, "secret"), DatabaseTransport(url)]
        with EventBus(transports) as bus, pytest.raises(Unsent) as caught:
            bus.publish_many(signals(2))
    webhook, database = caught.value.receipt.deliveries
    assert (webhook.confirmed, len(webhook.pending)) == (0, 2)
    assert (database.confirmed, database.pending) == (2, ())
    assert len(caught.value.receipt.pending) == 2


def test_threads_share_a_bus(url):
    with EventBus([DatabaseTransport(url)]) as bus:
        threads = [
            threading.Thread(target=bus.publish_many, args=(signals(50, f"t{number}"),))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert rows(url) == {("crypto", 400)}


@pytest.fixture
def url(program_environment: dict[str, str]) -> str:
    return program_environment["CORE_DB_URL"]


def rows(url: str) -> set[tuple[str, int]]:
    """How many rows each ecosystem has."""
    with psycopg.connect(url) as connection:
        return set(
            connection.execute("SELECT ecosystem, count(*) FROM trading_signals GROUP BY 1").fetchall()
        )


def names(bus: EventBus) -> list[str]:
    return [transport.name for transport in bus.transports]


def test_the_backend_is_logged_at_every_start(environment, caplog):
    caplog.set_level(logging.INFO, "signal_hub.bus")
    redis = replace(environment, event_bus_backend="redis", redis_url="redis://127.0.0.1:1/0")
    assert names(EventBus.from_environment(redis)) == ["redis"]
    assert caplog.messages == ["EventBus backend=redis"]


def test_a_fallback_warns_once_and_memory_without_a_database_too(environment, caplog):
    caplog.set_level(logging.INFO, "signal_hub.bus")
    bus = EventBus.from_environment(replace(environment, event_bus_backend="redis"), ecosystem="crypto")
    assert names(bus) == ["memory"]
    assert caplog.messages == [
        "EventBus: CORE_EVENT_BUS_BACKEND asks for redis, but CORE_REDIS_URL is not set; "
        "using memory instead",
        "EventBus backend=memory",
        "EventBus: crypto signals only reach subscribers in this process: no transport to the hub is set",
    ]


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_rows_also_go_to_the_database_of_each_ecosystem(program_environment, environment):
    core, forex = program_environment["CORE_DB_URL"], program_environment["CORE_FOREX_DB_URL"]
    with Receiver() as hub:
        mixed = replace(
            environment,
            core_db_url=core,
            forex_db_url=forex,
            event_bus_backend="webhook",
            event_webhook_url=hub.url,
            event_webhook_secret="secret",
        )
        with EventBus.from_environment(mixed) as bus:
            assert names(bus) == ["webhook", "database:crypto+stock", "database:forex"]
            bus.publish_many(
                [a_signal("a"), a_signal("b", ecosystem="forex"), a_signal("c", ecosystem="stock")]
            )
        assert hub.ids == ["a", "b", "c"]
    assert rows(core) == {("crypto", 1), ("stock", 1)}
    assert rows(forex) == {("forex", 1)}


def test_one_ecosystems_bus_opens_only_its_own_database(environment):
    both = replace(environment, crypto_db_url="postgres://one/x", forex_db_url="postgres://two/x")
    bus = EventBus.from_environment(both, ecosystem="forex")
    assert names(bus) == ["memory", "database"]
    assert bus.transports[1].ecosystems == {"forex"}


def test_an_override_is_that_transport_alone(environment, caplog):
    caplog.set_level(logging.INFO, "signal_hub.bus")
    full = replace(environment, core_db_url="postgres://one/x", redis_url="redis://127.0.0.1:1/0")
    assert names(EventBus.from_environment(full, backend="database")) == ["database"]
    assert names(EventBus.from_environment(full, backend="redis")) == ["redis"]
    assert names(EventBus.from_environment(full, backend="memory")) == ["memory"]
    assert "EventBus backend=database" in caplog.messages


@pytest.mark.parametrize(
    ("backend", "missing"),
    [
        ("redis", "CORE_REDIS_URL"),
        ("webhook", r"CORE_EVENT_WEBHOOK_URL \(or AGG_SIGNAL_ENDPOINT\) and CORE_EVENT_WEBHOOK_SECRET"),
        ("database", "CORE_CRYPTO_DB_URL or CORE_DB_URL"),
    ],
)
def test_an_override_never_falls_back(environment, backend, missing):
    with pytest.raises(BusError, match=missing):
        EventBus.from_environment(environment, ecosystem="crypto", backend=backend)


def test_topics_are_the_environments(environment):
    trades = replace(environment, stream_topics=("executed_trades", "other"))
    assert EventBus.from_environment(trades).topic == "executed_trades"
    assert EventBus.from_environment(environment).topic == "signals"


def test_a_bus_without_memory_or_redis_has_no_subscribers():
    with pytest.raises(Unsupported, match="database"):
        EventBus([DatabaseTransport("postgres://one/x")]).subscribe(print)


def test_with_several_transports_the_one_that_can_is_subscribed_to():
    bus = EventBus([DatabaseTransport("postgres://one/x"), memory := MemoryTransport()])
    seen: list[Signal] = []
    bus.subscribe(seen.append)
    memory.send([Entry("crypto", "s-1", "signals", a_signal().to_json())])
    assert seen == [a_signal()]
