"""Entries that left a stream unread are counted once, on every Redis that there is."""

import dataclasses
from contextlib import closing

import pytest
import redis
from django.conf import settings
from django.db.models import Sum

from aggregator.ingest import stream_state, trimming
from aggregator.ingest.streams import StreamConsumer
from aggregator.models import DeadLetter, TradingSignal
from tests.aggregator.ingest.redis_versions import any_redis, any_server  # noqa: F401 - fixtures
from tests.aggregator.ledger.samples import raw
from tests.servers import eventually

STREAM = "core_signals:signals"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hub(any_server, any_redis):  # noqa: F811
    return Hub(any_server.url, any_redis)


class Hub:
    """A hub's stream: what agents and operators do to it, and what the hub makes of it."""

    def __init__(self, url, client):
        self.url, self.client = url, client
        self.counts = int(client.info("server")["redis_version"].split(".")[0]) >= 7

    def add(self, count, **options):
        for _ in range(count):
            self.client.xadd(STREAM, {"payload": raw(f"s{next(NUMBERS)}")}, **options)

    def consume(self):
        with closing(StreamConsumer(self.url, [STREAM])) as consumer:
            while consumer.run_once(wait=False):
                pass

    def state(self):
        environment = dataclasses.replace(settings.ENVIRONMENT, redis_url=self.url)
        return stream_state.stream_states(environment)[0]

    def lost(self):
        return DeadLetter.objects.aggregate(all=Sum("deliveries"))["all"] or 0

    def assert_lost(self, exactly):
        """`exactly` since 7.0; before, 1 stands for some."""
        seen = self.state().trimmed_unread
        self.consume()
        self.consume()
        assert self.lost() == (exactly if self.counts else min(exactly, 1))
        assert self.state().trimmed_unread == seen == self.lost()
        assert self.state().lag == 0
        DeadLetter.objects.all().delete()


NUMBERS = iter(range(1_000_000))


def test_a_stream_that_was_trimmed_empty(hub):
    hub.add(5)
    hub.consume()
    hub.add(300)
    hub.client.xtrim(STREAM, maxlen=0, approximate=False)
    hub.assert_lost(300)
    hub.add(20)
    hub.client.xtrim(STREAM, maxlen=0, approximate=False)
    hub.add(1)
    hub.assert_lost(20)


def test_one_loss_after_another_is_counted_by_itself(hub):
    hub.add(5)
    hub.consume()
    for lost in (40, 7, 12_000):
        pipeline = hub.client.pipeline()
        for _ in range(lost + 10):
            pipeline.xadd(STREAM, {"payload": raw(f"s{next(NUMBERS)}")}, maxlen=10, approximate=False)
        pipeline.execute()
        hub.assert_lost(lost)
    assert TradingSignal.objects.count() == 35


def test_several_consumers_count_a_loss_once(hub):
    hub.add(5)
    hub.consume()
    hub.add(50, maxlen=10, approximate=False)
    consumers = [StreamConsumer(hub.url, [STREAM], name) for name in ("one", "two")]
    batches = [consumer._read_batch(wait=False) for consumer in consumers]
    assert [len(batch.entries) for batch in batches] == [11, 1], "both know of it"
    hub.client.xtrim(STREAM, maxlen=3, approximate=False)
    for consumer, batch in zip(consumers, batches, strict=True):
        consumer._held = batch
        consumer.run_once(wait=False)
    assert hub.lost() == (40 if hub.counts else 1)
    for consumer in consumers:
        consumer.close()
    assert hub.client.keys("signal_hub:trimmed:*") == []


def test_a_loss_is_counted_though_its_consumer_was_killed(hub):
    hub.add(5)
    hub.consume()
    hub.add(50, maxlen=10, approximate=False)
    killed = StreamConsumer(hub.url, [STREAM], "killed")
    killed._read_batch(wait=False)
    killed.reader.close()
    assert hub.state().trimmed_unread == (40 if hub.counts else 1)
    hub.consume()
    assert hub.lost() == (40 if hub.counts else 1)


def test_a_loss_is_forgotten_though_redis_was_away_when_it_was_recorded(hub, monkeypatch):
    hub.add(5)
    hub.consume()
    hub.add(50, maxlen=10, approximate=False)
    with closing(StreamConsumer(hub.url, [STREAM])) as consumer:
        with monkeypatch.context() as away:
            away.setattr(consumer.redis, "hdel", no_connection)
            with pytest.raises(redis.ConnectionError):
                consumer.run_once(wait=False)
        consumer.run_once(wait=False)
    assert hub.client.keys("signal_hub:trimmed:*") == []
    assert hub.lost() == (40 if hub.counts else 1)


def no_connection(*_):
    raise redis.ConnectionError


def test_a_loss_is_not_found_again_by_a_look_from_before_it_was_recorded(hub, monkeypatch):
    hub.add(5)
    hub.consume()
    hub.add(50, maxlen=10, approximate=False)
    parse = trimming.Look.parse
    with closing(StreamConsumer(hub.url, [STREAM], read_ahead=True)) as consumer:

        def parse_late(reply):
            if consumer._held:
                eventually(lambda: consumer._held is None)
            return parse(reply)

        monkeypatch.setattr(trimming.Look, "parse", parse_late)
        for _ in range(3):
            consumer.run_once(wait=False)
    assert DeadLetter.objects.get().times == 1
    assert hub.client.keys("signal_hub:trimmed:*") == []


def test_what_leaves_after_it_was_read_is_no_loss(hub):
    consumer = StreamConsumer(hub.url, [STREAM])
    hub.add(5)
    consumer.run_once(wait=False)
    hub.client.xtrim(STREAM, maxlen=0, approximate=False)
    for _ in range(3):
        consumer.run_once(wait=False)
        hub.add(1)
        consumer.run_once(wait=False)
        hub.client.xdel(STREAM, hub.client.xinfo_stream(STREAM)["last-generated-id"])
    consumer.close()
    assert TradingSignal.objects.count() == 8
    assert hub.lost() == hub.state().trimmed_unread == hub.state().lag == 0


def test_a_group_whose_count_is_behind_is_put_right(hub):
    """As an earlier hub left it: Redis 7.0 itself does not count what a group did not read."""
    hub.add(30)
    hub.consume()
    if hub.counts:
        read = hub.client.xinfo_groups(STREAM)[0]["last-delivered-id"].decode()
        hub.client.execute_command("XGROUP", "SETID", STREAM, "aggregator", read, "ENTRIESREAD", "3")
    hub.consume()
    assert hub.state().lag == 0
    hub.add(50, maxlen=10, approximate=False)
    hub.assert_lost(40)
