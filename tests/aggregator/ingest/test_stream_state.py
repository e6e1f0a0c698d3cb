"""How the streams stand, asked of a real Redis."""

from __future__ import annotations

import dataclasses
import threading
from datetime import UTC, datetime

import pytest
from django.conf import settings

from aggregator.ingest import stream_state
from aggregator.models import DeadLetter
from tests.servers import eventually

STREAM = "core_signals:signals"
pytestmark = pytest.mark.django_db


@pytest.fixture
def state(redis_client):
    def ask():
        [only] = stream_state.stream_states(settings.ENVIRONMENT)
        return only

    return ask


def test_a_stream_that_is_not_there_is_empty(state):
    assert state() == stream_state.StreamState(STREAM)


def test_without_a_group_everything_is_unread(redis_client, state):
    for _ in range(3):
        redis_client.xadd(STREAM, {"payload": "{}"})
    assert (state().length, state().lag, state().consumers) == (3, 3, 0)


def test_lag_pending_and_consumers(redis_client, state):
    redis_client.xgroup_create(STREAM, "aggregator", id="0", mkstream=True)
    for _ in range(10):
        redis_client.xadd(STREAM, {"payload": "{}"})
    assert state().lag == 10
    redis_client.xreadgroup("aggregator", "one", {STREAM: ">"}, count=4)
    seen = state()
    assert (seen.length, seen.lag, seen.lag_exact, seen.pending, seen.consumers) == (10, 6, True, 4, 1)
    assert 0 <= seen.oldest_pending_s < 30
    redis_client.xreadgroup("aggregator", "two", {STREAM: ">"})
    assert (state().lag, state().pending, state().consumers) == (0, 10, 2)


def test_one_that_waits_for_the_first_entry_reads_it(redis_client, state):
    """Redis before 7.2 does not note who asked in vain."""
    redis_client.xgroup_create(STREAM, "aggregator", id="0", mkstream=True)
    assert state().consumers == 0
    waiting = threading.Thread(
        target=redis_client.xreadgroup, args=["aggregator", "one", {STREAM: ">"}], kwargs={"block": 20_000}
    )
    waiting.start()
    eventually(lambda: state().consumers == 1)
    redis_client.xadd(STREAM, {"payload": "{}"})
    waiting.join()


def test_a_long_lag_is_estimated(redis_client, state):
    pipeline = redis_client.pipeline()
    for number in range(4000):
        pipeline.xadd(STREAM, {"payload": "{}"}, id=f"{1_700_000_000_000 + number}-0")
    pipeline.xgroup_create(STREAM, "aggregator", id=f"{1_700_000_001_000}-0")
    pipeline.execute()
    seen = state()
    assert seen.lag == pytest.approx(3000, abs=10)
    assert not seen.is_behind
    assert seen.lag_exact == (redis_client.xinfo_groups(STREAM)[0].get("lag") is not None)


def test_a_wrong_type_and_a_dead_redis_are_data(redis_client, state, free_port):
    redis_client.set(STREAM, "text")
    assert state().error.startswith("WRONGTYPE")
    down = dataclasses.replace(settings.ENVIRONMENT, redis_url=f"redis://:hush@127.0.0.1:{free_port}/0")
    [seen] = stream_state.stream_states(down)
    assert seen.error == "ConnectionError"
    assert stream_state.stream_states(dataclasses.replace(down, redis_url=None)) == []


def test_entries_trimmed_unread_count_until_resolved(state):
    now = datetime.now(UTC)
    for number, resolved in enumerate([None, None, now]):
        DeadLetter.objects.create(
            fingerprint=bytes([number]), transport="redis", code="trimmed_unread", detail="lost",
            raw=b"", stream=STREAM, deliveries=7, first_at=now, last_at=now, resolved_at=resolved,
        )  # fmt: skip
    assert state().trimmed_unread == 14


def test_what_was_trimmed_counts_before_a_consumer_has_noticed(redis_client, state):
    redis_client.xgroup_create(STREAM, "aggregator", id="0", mkstream=True)
    for _ in range(5):
        redis_client.xadd(STREAM, {"payload": "{}"})
    redis_client.xreadgroup("aggregator", "one", {STREAM: ">"}, count=1)
    assert state().trimmed_unread == 0
    redis_client.xtrim(STREAM, maxlen=2, approximate=False)
    assert state().trimmed_unread >= 1  # before Redis 7 they are not counted
