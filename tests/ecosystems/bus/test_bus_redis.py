import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis
from redis.connection import AbstractConnection

from ecosystems.bus import BusError, EventBus, Unsent
from ecosystems.bus.redis import PIPELINE_LENGTH, RedisTransport
from ecosystems.bus.transport import Unsubscribe
from ecosystems.signal import parse
from tests.ecosystems.examples import a_signal, signals
from tests.servers import eventually

KEY = "core_signals:signals"


@pytest.fixture
def bus(redis_client: redis.Redis) -> Iterator[EventBus]:
    with EventBus([RedisTransport(os.environ["CORE_REDIS_URL"])]) as bus:
        yield bus


def test_a_signal_is_one_entry_with_its_json(redis_client, bus):
    assert bus.publish(a_signal()).confirmed == 1

    ((_, fields),) = redis_client.xrange(KEY)
    assert list(fields) == [b"payload"]
    assert parse(fields[b"payload"]) == a_signal()


def test_many_arrive_in_order_under_the_topics_own_key(redis_client, bus):
    many = signals(2345)
    assert bus.publish_many(many, topic="executed_trades").confirmed == 2345

    entries = redis_client.xrange("core_signals:executed_trades")
    assert [fields[b"payload"] for _, fields in entries] == [signal.to_json() for signal in many]
    assert not redis_client.exists(KEY)


def test_prefix_and_cap_are_the_environments(redis_client):
    transport = RedisTransport(os.environ["CORE_REDIS_URL"], prefix="mine", maxlen=500)
    with EventBus([transport]) as bus:
        bus.publish_many(signals(2000))
    assert 500 <= redis_client.xlen("mine:signals") < 1000


def test_a_server_that_closed_the_connection_is_reached_again(redis_client, bus):
    bus.publish(a_signal())
    redis_client.client_kill_filter(_type="normal", skipme=True)
    assert bus.publish(a_signal("s-2")).confirmed == 1


def test_what_redis_refuses_is_not_confirmed_and_can_be_sent_again(redis_client, bus):
    redis_client.set(KEY, "not a stream")
    with pytest.raises(Unsent, match="redis did not confirm 2 signals: WRONGTYPE") as caught:
        bus.publish_many(signals(2))

    redis_client.delete(KEY)
    assert bus.publish_many(caught.value.receipt.pending).confirmed == 2


@pytest.fixture
def limited(redis_client: redis.Redis) -> Iterator[EventBus]:
    """A bus whose user may only append, and only to one topic."""
    redis_client.acl_setuser(
        "agent", enabled=True, nopass=True, keys=["core_signals:good"], commands=["+xadd"]
    )
    host = os.environ["CORE_REDIS_URL"].rpartition("@")[2]
    with EventBus([RedisTransport(f"redis://agent:x@{host}")]) as limited:
        yield limited
    redis_client.acl_deluser("agent")


def test_the_right_to_append_is_all_that_is_needed(redis_client, limited):
    assert limited.publish_many(signals(3), topic="good").confirmed == 3


def test_after_an_error_nothing_more_is_sent(redis_client, limited):
    """Two pipelines are on their way when the first answer is read: the others are not sent at all."""
    redis_client.config_resetstat()
    with pytest.raises(Unsent, match="permissions") as caught:
        limited.publish_many(signals(5 * PIPELINE_LENGTH))
    assert len(caught.value.receipt.pending) == 5 * PIPELINE_LENGTH
    refused = redis_client.info("commandstats")["cmdstat_xadd"]["rejected_calls"]
    assert refused % PIPELINE_LENGTH == 0
    assert refused <= 2 * PIPELINE_LENGTH


def test_a_connection_that_breaks_halfway(redis_client, bus, monkeypatch):
    real = AbstractConnection.read_response
    answers = itertools.count()

    def breaking(connection, *arguments, **options):
        if next(answers) == PIPELINE_LENGTH + 7:
            redis_client.client_kill_filter(_type="normal", skipme=True)
        return real(connection, *arguments, **options)

    monkeypatch.setattr(AbstractConnection, "read_response", breaking)
    with pytest.raises(Unsent, match="redis did not confirm") as caught:
        bus.publish_many(signals(5 * PIPELINE_LENGTH))
    pending = caught.value.receipt.pending
    assert [signal.signal_id for signal in pending] == [
        f"s-{n}" for n in range(5 * PIPELINE_LENGTH - len(pending), 5 * PIPELINE_LENGTH)
    ]
    assert 0 < len(pending) < 5 * PIPELINE_LENGTH

    bus.publish_many(pending)
    arrived = [parse(fields[b"payload"]).signal_id for _, fields in redis_client.xrange(KEY)]
    assert list(dict.fromkeys(arrived)) == [f"s-{n}" for n in range(5 * PIPELINE_LENGTH)]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://127.0.0.1:{port}/0", "Connection refused"),
        ("unix:///nowhere/redis.sock", "No such file"),
        ("rediss://127.0.0.1:{port}/0", "Connection refused"),
        ("redis://redis..example:{port}/0", "label empty"),
    ],
)
def test_a_server_that_is_not_there_is_named(free_port, url, reason):
    with EventBus([RedisTransport(url.format(port=free_port))]) as bus:
        with pytest.raises(Unsent, match=reason) as caught:
            bus.publish_many(signals(1200))
        assert len(caught.value.receipt.pending) == 1200
        with pytest.raises(BusError, match=reason):
            bus.subscribe(print)


def test_a_wrong_password_is_an_outage_not_a_refusal(redis_client):
    host = os.environ["CORE_REDIS_URL"].rpartition("@")[2]
    with (
        EventBus([RedisTransport(f"redis://:wrong@{host}")]) as bus,
        pytest.raises(Unsent, match="invalid username-password") as caught,
    ):
        bus.publish(a_signal())
    assert len(caught.value.receipt.pending) == 1


def test_a_url_that_is_none():
    with pytest.raises(BusError, match="redis://"):
        RedisTransport("http://example.org")


def test_a_subscriber_sees_what_anybody_publishes_from_now_on(redis_client, bus):
    seen: list[str] = []
    bus.publish(a_signal("before"))
    unsubscribe = bus.subscribe(lambda signal: seen.append(signal.signal_id))

    redis_client.xadd(KEY, {"payload": b"no signal"})
    redis_client.xadd(KEY, {"other": b"field"})
    redis_client.xadd(KEY, {"payload": a_signal("stranger").to_json()})
    bus.publish_many(signals(3))

    eventually(lambda: len(seen) == 4)
    assert seen == ["stranger", "s-0", "s-1", "s-2"]
    unsubscribe()
    bus.publish(a_signal("after"))
    assert len(seen) == 4


def test_a_subscriber_that_fails_or_leaves_does_not_disturb_the_others(redis_client, bus):
    seen: list[str] = []
    stop: list[Unsubscribe] = []

    def failing(signal: object) -> None:
        raise ValueError("a subscriber's own mistake")

    def leaving(signal: object) -> None:
        stop[0]()

    bus.subscribe(failing)
    stop.append(bus.subscribe(leaving))
    bus.subscribe(lambda signal: seen.append(signal.signal_id))
    bus.publish_many(signals(2))
    eventually(lambda: seen == ["s-0", "s-1"])


def test_a_subscription_outlives_a_lost_connection(redis_client, bus):
    seen: list[str] = []
    bus.subscribe(lambda signal: seen.append(signal.signal_id))
    redis_client.client_kill_filter(_type="normal", skipme=True)
    bus.publish(a_signal())
    eventually(lambda: seen == ["s-1"])


def test_closing_ends_the_subscriptions_threads(redis_client):
    bus = EventBus([RedisTransport(os.environ["CORE_REDIS_URL"])])
    bus.subscribe(print)
    started = time.monotonic()
    bus.close()
    assert time.monotonic() - started < 30
    with suppress(StopIteration):
        raise AssertionError(next(t for t in threading.enumerate() if t.name.startswith("subscription")))
