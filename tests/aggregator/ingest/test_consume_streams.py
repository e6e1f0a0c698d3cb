"""`manage.py consume_streams` and the consumer it runs."""

import json
import os

import pytest
import redis

from aggregator import ledger
from aggregator.ingest.streams import GROUP, StreamConsumer
from aggregator.models import DeadLetter, Sighting, TradingSignal
from tests.aggregator.ledger.samples import raw, signal
from tests.servers import eventually

STREAM = "core_signals:signals"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def consumer(redis_client):
    consumer = StreamConsumer(os.environ["CORE_REDIS_URL"], [STREAM], "me")
    yield consumer
    consumer.reader.close()


def drain(consumer):
    while consumer.run_once(wait=False):
        pass


def ready(consumer):
    """Make the group, as a consumer's first turn does."""
    consumer.run_once(wait=False)


def pending(redis_client):
    return redis_client.xpending(STREAM, GROUP)["pending"]


def abandon(redis_client, times=1, idle_ms=61_000):
    """Let a consumer that is gone by now have had all new entries, `times` times."""
    redis_client.xreadgroup(GROUP, "gone", {STREAM: ">"})
    for item in redis_client.xpending_range(STREAM, GROUP, "-", "+", 100):
        redis_client.xclaim(
            STREAM, GROUP, "gone", 0, [item["message_id"]], idle=idle_ms, retrycount=times, justid=True
        )


def test_an_old_agents_entry_is_recorded_unchanged_and_acknowledged(consumer, redis_client):
    """`XADD <prefix>:<topic> MAXLEN ~ 10000 * payload <json>`, as the first generation publishes."""
    payload = json.dumps(signal(), default=str)
    redis_client.xadd(STREAM, {"payload": payload}, maxlen=10000, approximate=True)
    ready(consumer)
    drain(consumer)
    row = TradingSignal.objects.get()
    assert (row.signal_id, row.transport, row.raw_payload) == ("s1", "redis", {"rsi": 27.35})
    assert row.sender == f"stream:{STREAM}"
    assert str(row.entry_price) == "64000.12"
    assert pending(redis_client) == 0
    assert redis_client.xlen(STREAM) == 1, "other readers of the stream keep what is theirs"


def test_one_that_reads_ahead_acknowledges_also_when_nothing_more_comes(redis_client):
    consumer = StreamConsumer(os.environ["CORE_REDIS_URL"], [STREAM], "me", read_ahead=True)
    try:
        ready(consumer)
        for number in range(3):
            redis_client.xadd(STREAM, {"payload": raw(f"s{number}")})
            assert consumer.run_once() == 1
            eventually(lambda: pending(redis_client) == 0)
        redis_client.xadd(STREAM, {"payload": raw("last")})
        assert consumer.run_once() == 1
    finally:
        consumer.close()
    assert TradingSignal.objects.count() == 4
    assert pending(redis_client) == 0
    assert redis_client.xinfo_consumers(STREAM, GROUP) == []


def test_what_redis_could_not_take_is_acknowledged_before_the_next_read(redis_client, monkeypatch):
    """It was recorded in the moment in which a failover made the server a replica."""
    consumer = StreamConsumer(os.environ["CORE_REDIS_URL"], [STREAM], "me", read_ahead=True)
    ready(consumer)
    redis_client.xadd(STREAM, {"payload": raw("first")})
    record_batch = ledger.write

    def write(*arguments):
        redis_client.execute_command("REPLICAOF", "127.0.0.1", "1")
        return record_batch(*arguments)

    try:
        with monkeypatch.context() as during:
            during.setattr(ledger, "write", write)
            assert consumer.run_once() == 1
        with pytest.raises(redis.exceptions.ReadOnlyError):
            consumer.run_once()
    finally:
        redis_client.execute_command("REPLICAOF", "NO", "ONE")
    assert consumer.run_once(wait=False) == 0
    assert pending(redis_client) == 0
    consumer.close()
    assert TradingSignal.objects.count() == 1


def test_a_right_to_acknowledge_that_is_missing_is_an_error_of_the_next_read(redis_client):
    consumer = StreamConsumer(os.environ["CORE_REDIS_URL"], [STREAM], "me", read_ahead=True)
    ready(consumer)
    redis_client.execute_command("ACL", "SETUSER", "default", "-xack")
    try:
        redis_client.xadd(STREAM, {"payload": raw("first")})
        assert consumer.run_once() == 1
        with pytest.raises(redis.exceptions.NoPermissionError):
            consumer.run_once()
    finally:
        redis_client.execute_command("ACL", "SETUSER", "default", "+xack")
        consumer.close()
    assert TradingSignal.objects.count() == 1


def test_once_drains_what_is_there_and_exits_0(run_manage, redis_client):
    for number in range(2500):
        redis_client.xadd(STREAM, {"payload": raw(f"s{number}")})
    program = run_manage("consume_streams", "--once")
    assert program.wait() == 0
    assert "2500 entries processed" in program.text
    assert "EventBus backend=memory" in program.text
    assert TradingSignal.objects.count() == 2500


def test_without_redis_the_command_says_so_in_one_line(run_manage):
    program = run_manage("consume_streams", CORE_REDIS_URL="")
    assert program.wait() == 1
    assert program.text.strip() == "CommandError: CORE_REDIS_URL is not set: there are no streams to consume"


def test_a_wrong_password_ends_the_command_in_one_line_without_the_password(run_manage):
    url = os.environ["CORE_REDIS_URL"].replace("@", "wrong-secret@")
    program = run_manage("consume_streams", "--once", CORE_REDIS_URL=url)
    assert program.wait() == 1
    assert "Redis refuses" in program.text
    assert "Traceback" not in program.text
    assert "wrong-secret" not in program.text


def test_every_configured_topic_is_consumed(run_manage, redis_client):
    redis_client.xadd("desk:alpha", {"payload": raw("a")})
    redis_client.xadd("desk:beta", {"payload": raw("b")})
    variables = {"CORE_EVENT_STREAM_PREFIX": "desk", "CORE_EVENT_STREAM_TOPICS": "alpha, beta"}
    assert run_manage("consume_streams", "--once", **variables).wait() == 0
    assert sorted(TradingSignal.objects.values_list("signal_id", flat=True)) == ["a", "b"]


def test_sigterm_ends_the_consumer_cleanly_and_it_leaves_the_group(run_manage, redis_client):
    program = run_manage("consume_streams")
    redis_client.xadd(STREAM, {"payload": raw()})
    program.until(TradingSignal.objects.exists)
    assert program.stop() == 0
    assert "Traceback" not in program.text
    assert redis_client.xinfo_groups(STREAM)[0]["consumers"] == 0


@pytest.mark.parametrize(
    ("fields", "code", "kept"),
    [
        ({"payload": b"nonsense"}, "not_json", b"nonsense"),
        ({"payload": b"\xff\x00"}, "not_utf8", b"\xff\x00"),
        ({"payload": raw(symbol="a  b")}, "invalid_value", raw(symbol="a  b")),
        ({"payload": b"[" + raw() + b"]"}, "not_an_object", b"[" + raw() + b"]"),
        ({"other": b"x"}, "no_payload", b'{"other":"x"}'),
    ],
)
def test_what_is_no_signal_becomes_a_dead_letter_and_is_acknowledged(
    consumer, redis_client, fields, code, kept
):
    entry_id = redis_client.xadd(STREAM, fields)
    redis_client.xadd(STREAM, {"payload": raw("good")})
    ready(consumer)
    drain(consumer)
    letter = DeadLetter.objects.get()
    assert (letter.code, bytes(letter.raw), letter.transport) == (code, kept, "redis")
    assert (letter.stream, letter.entry_id, letter.deliveries) == (STREAM, entry_id.decode(), 1)
    assert pending(redis_client) == 0
    assert TradingSignal.objects.get().signal_id == "good"


def test_what_a_dead_consumer_left_for_a_minute_is_claimed(consumer, redis_client):
    ready(consumer)
    redis_client.xadd(STREAM, {"payload": raw()})
    abandon(redis_client)
    consumer.reader._claim_at = 0.0
    drain(consumer)
    assert TradingSignal.objects.count() == 1
    assert pending(redis_client) == 0


def test_what_another_consumer_got_less_than_a_minute_ago_is_left_to_it(consumer, redis_client):
    ready(consumer)
    redis_client.xadd(STREAM, {"payload": raw()})
    abandon(redis_client, idle_ms=30_000)
    consumer.reader._claim_at = 0.0
    drain(consumer)
    assert not TradingSignal.objects.exists()
    assert pending(redis_client) == 1


@pytest.mark.parametrize(("times", "recorded"), [(4, 1), (5, 0)])
def test_five_deliveries_without_success_make_a_dead_letter(consumer, redis_client, times, recorded):
    ready(consumer)
    entry_id = redis_client.xadd(STREAM, {"payload": raw()})
    abandon(redis_client, times=times)
    consumer.reader._claim_at = 0.0
    drain(consumer)
    assert TradingSignal.objects.count() == recorded
    assert pending(redis_client) == 0
    letters = list(DeadLetter.objects.values_list("code", "entry_id", "deliveries"))
    assert letters == ([] if recorded else [("delivered_too_often", entry_id.decode(), 5)])


def test_a_group_that_is_gone_is_made_again_from_the_start(consumer, redis_client):
    redis_client.xadd(STREAM, {"payload": raw("a")})
    ready(consumer)
    drain(consumer)
    redis_client.xgroup_destroy(STREAM, GROUP)
    redis_client.xadd(STREAM, {"payload": raw("b")})
    drain(consumer)
    assert set(TradingSignal.objects.values_list("signal_id", flat=True)) == {"a", "b"}
    assert Sighting.objects.count() == 1
    assert pending(redis_client) == 0


def test_a_stream_that_is_deleted_under_a_waiting_consumer_is_made_again(run_manage, redis_client):
    program = run_manage("consume_streams")
    redis_client.xadd(STREAM, {"payload": raw("a")})
    program.until(TradingSignal.objects.exists)
    redis_client.delete(STREAM)
    redis_client.xadd(STREAM, {"payload": raw("b")})
    program.until(lambda: TradingSignal.objects.count() == 2)
    assert program.stop() == 0


def test_entries_trimmed_before_they_were_read_are_counted(consumer, redis_client):
    redis_client.xadd(STREAM, {"payload": raw("read")})
    ready(consumer)
    drain(consumer)
    for number in range(50):
        redis_client.xadd(STREAM, {"payload": raw(f"s{number}")}, maxlen=10, approximate=False)
    drain(consumer)
    assert TradingSignal.objects.count() == 11
    letter = DeadLetter.objects.get()
    assert (letter.code, letter.stream) == ("trimmed_unread", STREAM)
    version = int(redis_client.info("server")["redis_version"].split(".")[0])
    assert letter.deliveries == (40 if version >= 7 else 1), "before Redis 7, one stands for some"


def test_an_entry_trimmed_while_it_was_pending_is_counted(consumer, redis_client):
    ready(consumer)
    redis_client.xadd(STREAM, {"payload": raw()})
    abandon(redis_client)
    redis_client.xtrim(STREAM, maxlen=0)
    consumer.reader._claim_at = 0.0
    drain(consumer)
    # From Redis 7 on, the server drops such an entry from the pending list by itself.
    assert pending(redis_client) == 0
    assert DeadLetter.objects.filter(code="trimmed_unread").exists()


def test_reading_what_was_there_before_the_group_loses_nothing_and_alarms_nobody(consumer, redis_client):
    for number in range(20):
        redis_client.xadd(STREAM, {"payload": raw(f"s{number}")})
    ready(consumer)
    drain(consumer)
    redis_client.xadd(STREAM, {"payload": raw("later")})
    drain(consumer)
    assert TradingSignal.objects.count() == 21
    assert not DeadLetter.objects.exists()


def test_two_consumers_share_the_work_and_record_each_signal_once(run_manage, redis_client):
    ours = [run_manage("consume_streams") for _ in range(2)]
    for program in ours:
        program.until(lambda p=program: "EventBus" in p.text)
    pipeline = redis_client.pipeline()
    for number in range(6000):
        pipeline.xadd(STREAM, {"payload": raw(f"s{number}")})
    pipeline.execute()
    eventually(lambda: TradingSignal.objects.count() == 6000)
    eventually(lambda: pending(redis_client) == 0)
    assert [program.stop() for program in ours] == [0, 0]
    assert not Sighting.objects.exists()


def test_the_names_of_consumers_tell_host_and_process(run_manage, redis_client):
    program = run_manage("consume_streams")

    def names():
        try:
            return [item["name"].decode() for item in redis_client.xinfo_consumers(STREAM, GROUP)]
        except redis.ResponseError:
            return []

    redis_client.xadd(STREAM, {"payload": raw()})
    program.until(names)
    assert names() == [f"{os.uname().nodename}-{program.process.pid}"]
