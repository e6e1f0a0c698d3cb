"""Entries that are made to stop a consumer or to fill its memory, with a real `consume_streams`."""

import hashlib
import os
import re
from pathlib import Path

import pytest
import redis

from aggregator.ingest.streams import GROUP
from aggregator.models import DeadLetter, TradingSignal
from tests.aggregator.ledger.samples import raw

STREAM = "core_signals:signals"
MIB = 1 << 20
pytestmark = pytest.mark.django_db(transaction=True)


def peak_mib(program):
    """Return the most memory that a process ever had."""
    status = Path(f"/proc/{program.process.pid}/status")
    if not status.exists():
        pytest.skip("only Linux reports a process' memory in /proc")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) // 1024


def letters(code):
    return DeadLetter.objects.filter(code=code).order_by("entry_id")


def test_giant_many_large_and_many_field_entries_neither_stop_nor_fill_a_consumer(run_manage, redis_client):
    program = run_manage("consume_streams")
    redis_client.xadd(STREAM, {"payload": raw("before")})
    program.until(TradingSignal.objects.exists)
    usual = peak_mib(program)

    giant = b"{" * (270 * MIB)
    client = redis.Redis.from_url(os.environ["CORE_REDIS_URL"], socket_timeout=60)
    client.xadd(STREAM, {"payload": giant})
    for number in range(60):
        client.xadd(STREAM, {"payload": b"%d" % number + b"x" * (MIB - 10)})
    fields = {b"%d" % number: b"" for number in range(300_000)}
    client.xadd(STREAM, fields)
    client.xadd(STREAM, {"payload": raw("s1"), "other": b"y" * 2 * MIB})
    client.xadd(STREAM, {"payload": raw("after")})
    program.until(TradingSignal.objects.filter(signal_id="after").exists)
    program.until(lambda: redis_client.xpending(STREAM, GROUP)["pending"] == 0)
    grown = peak_mib(program) - usual
    assert grown < 200, f"{grown} MiB more than for a usual entry"
    assert program.stop() == 0

    assert letters("not_json").count() == 60
    first, names, beside = letters("entry_too_large")
    joined = b"".join(fields)
    assert (first.length, bytes(first.raw)) == (270 * MIB, giant[:65_536])
    assert bytes(first.sha256) == hashlib.sha256(giant).digest()
    assert (names.length, bytes(names.sha256)) == (len(joined), hashlib.sha256(joined).digest())
    assert beside.length == len("payload") + len(raw("s1")) + len("other") + 2 * MIB
    assert {letter.deliveries for letter in (first, names, beside)} == {1}
    assert TradingSignal.objects.count() == 2


def test_the_limit_is_that_of_the_environment(run_manage, redis_client):
    redis_client.xadd(STREAM, {"payload": raw("s1", raw_payload={"text": "x" * 2000})})
    redis_client.xadd(STREAM, {"payload": raw("s2")})
    assert run_manage("consume_streams", "--once", CORE_STREAM_MAX_BYTES="1500").wait() == 0
    assert TradingSignal.objects.get().signal_id == "s2"
    letter = letters("entry_too_large").get()
    assert bytes(letter.raw) == raw("s1", raw_payload={"text": "x" * 2000})


def test_a_small_limit_lets_a_consumer_read_no_more_at_once(run_manage, redis_client):
    with redis_client.pipeline() as pipeline:
        for number in range(6000):
            pipeline.xadd(STREAM, {"payload": b"%d" % number + b"x" * 9000})
        pipeline.xadd(STREAM, {"payload": raw("s1")})
        pipeline.execute()
    program = run_manage("consume_streams", "--once", CORE_STREAM_MAX_BYTES="1000")
    assert program.wait() == 0
    assert "6001 entries processed" in program.text
    assert redis_client.xpending(STREAM, GROUP)["pending"] == 0
    assert TradingSignal.objects.get().signal_id == "s1"
    assert letters("entry_too_large").count() == 6000


def test_a_large_entry_that_another_consumer_left_is_claimed(run_manage, redis_client):
    redis_client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    for _ in range(20):
        redis_client.xadd(STREAM, {"payload": b"x" * MIB})
    redis_client.xadd(STREAM, {"payload": raw("s1")})
    redis_client.xreadgroup(GROUP, "gone", {STREAM: ">"})
    for item in redis_client.xpending_range(STREAM, GROUP, "-", "+", 100):
        redis_client.xclaim(STREAM, GROUP, "gone", 0, [item["message_id"]], idle=61_000, justid=True)
    assert run_manage("consume_streams", "--once").wait() == 0
    assert TradingSignal.objects.get().signal_id == "s1"
    assert letters("entry_too_large").count() == 20, "the name of the field counts as well"
    assert {letter.deliveries for letter in letters("entry_too_large")} == {2}


def test_one_stream_that_is_none_does_not_hold_up_the_others(run_manage, redis_client):
    redis_client.set("core_signals:alpha", "text")
    program = run_manage("consume_streams", CORE_EVENT_STREAM_TOPICS="alpha,beta")
    redis_client.xadd("core_signals:beta", {"payload": raw("s1")})
    program.until(TradingSignal.objects.exists)
    program.until(
        lambda: "stream=core_signals:alpha cannot be read; the others go on: WRONGTYPE" in program.text
    )
    redis_client.delete("core_signals:alpha")
    redis_client.xadd("core_signals:alpha", {"payload": raw("s2")})
    program.until(TradingSignal.objects.filter(signal_id="s2").exists)
    assert program.stop() == 0
