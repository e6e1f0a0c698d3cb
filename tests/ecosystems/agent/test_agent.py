"""The agent's loop, with a clock of the test's own and signals that land in a list."""

import os
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from ecosystems import signal as wire
from ecosystems.agent.heartbeat import heartbeat
from ecosystems.agent.loop import Agent
from ecosystems.agent.progress import Progress
from ecosystems.bus import EventBus, InvalidSignal, Outbox, OutboxError, OutboxFull
from ecosystems.bus.webhook import WebhookTransport
from ecosystems.market.csv_feed import CsvFeed
from ecosystems.market.feeds import FeedError, FeedOutage
from ecosystems.market.synthetic_feed import SyntheticFeed
from ecosystems.signal import Refusal
from ecosystems.strategies import load_strategy
from tests.ecosystems.bus.receiver import Receiver
from tests.ecosystems.market.sample_market import replay_ids, write

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Clock:
    """Time that passes only during waits, and a stop event that is set at `until`."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now
        self.until: datetime | None = None
        self.waits: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def is_set(self) -> bool:
        return self.until is not None and self.now >= self.until

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += timedelta(seconds=seconds)
        return self.is_set()


class Recorder:
    """A bus that records signals, after it has raised the errors in `script`."""

    def __init__(self) -> None:
        self.signals: list[wire.Signal] = []
        self.script: list[Exception] = []
        self.waiting: int | Exception = 0

    def publish(self, signal: wire.Signal) -> None:
        self.publish_many([signal])

    def publish_many(self, signals: list[wire.Signal]) -> None:
        if self.script:
            raise self.script.pop(0)
        self.signals += signals

    def backlog(self) -> int:
        if isinstance(self.waiting, Exception):
            raise self.waiting
        return self.waiting

    @property
    def ids(self) -> list[str]:
        return [signal.signal_id for signal in self.signals]


class Broken:
    """A feed that raises the errors in `script`, then works like the one behind it."""

    def __init__(self, feed, *script: Exception) -> None:
        self.tags = feed.tags
        self.feed = feed
        self.script = list(script)

    def candles(self, *arguments) -> Iterator:
        if self.script:
            raise self.script.pop(0)
        return self.feed.candles(*arguments)


def agent(clock, publisher, progress=None, feed=None, **options) -> Agent:
    feed = feed or SyntheticFeed("crypto", 3, clock)
    strategy = load_strategy("ema_crossover")(
        "crypto", "MADE/UP", "1m", "agent", tags=feed.tags, fast=3, slow=6
    )
    progress = progress or Progress(None)
    return Agent(strategy, feed, publisher, progress=progress, stop=clock, clock=clock, **options)


def run_until(subject: Agent, clock: Clock, until: datetime) -> None:
    clock.until = until
    subject.run()


def expected(start: datetime, end: datetime) -> list[str]:
    """Ids of the signals of candles opened from `start` on and closed by `end`, by the strategy alone."""
    strategy = load_strategy("ema_crossover")("crypto", "MADE/UP", "1m", "agent", fast=3, slow=6)
    candles = SyntheticFeed("crypto", 3, lambda: end).candles("MADE/UP", "1m", start - timedelta(days=1))
    signals = [(candle.timestamp, strategy.on_candle(candle)) for candle in candles]
    return [signal.signal_id for at, signal in signals if signal and at >= start]


def test_history_warms_up_and_gives_no_signals():
    clock, publisher = Clock(), Recorder()
    subject = agent(clock, publisher)
    subject.start()
    subject.run_once()
    assert subject.handled == 0
    run_until(subject, clock, NOON + 120 * MINUTE)
    assert len(publisher.ids) > 5
    assert publisher.ids == expected(NOON, clock.now - MINUTE)[: len(publisher.ids)]
    assert len(publisher.ids) >= len(expected(NOON, clock.now - 2 * MINUTE))
    assert all(signal.tags[0] == "synthetic" for signal in publisher.signals)


def test_a_restarted_agent_sends_what_it_missed(tmp_path):
    file, clock, publisher = tmp_path / "agent.progress", Clock(), Recorder()
    first = agent(clock, publisher, Progress(file, "subject"))
    first.start()
    run_until(first, clock, NOON + 60 * MINUTE)
    clock.now += 90 * MINUTE
    second = agent(clock, publisher, Progress(file, "subject"))
    second.start()
    run_until(second, clock, NOON + 200 * MINUTE)
    assert publisher.ids == expected(NOON, clock.now)[: len(publisher.ids)]
    assert len(publisher.ids) >= len(expected(NOON, NOON + 198 * MINUTE))


def test_lost_progress_leads_to_repeats_under_the_same_ids(tmp_path):
    file, clock, publisher = tmp_path / "agent.progress", Clock(), Recorder()
    first = agent(clock, publisher, Progress(file, "subject"))
    first.start()
    early = file.read_bytes()
    run_until(first, clock, NOON + 60 * MINUTE)
    file.write_bytes(early)
    again, clock.until = Recorder(), None
    second = agent(clock, again, Progress(file, "subject"))
    second.start()
    second.run_once()
    assert again.signals[: len(publisher.signals)] == publisher.signals
    assert len(publisher.signals) > 2


def test_signals_older_than_catch_up_are_not_given(tmp_path):
    clock, publisher, progress = Clock(), Recorder(), Progress(tmp_path / "agent.progress", "subject")
    progress.save(NOON - timedelta(days=4))
    subject = agent(clock, publisher, progress, catch_up=timedelta(hours=2))
    subject.start()
    subject.run_once()
    assert publisher.ids == expected(NOON - timedelta(hours=2), NOON)


def test_progress_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    file, calls = tmp_path / "agent.progress", []
    replace = Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append(os.fstat(handle).st_size))
    monkeypatch.setattr(Path, "replace", lambda *paths: calls.append("replace") or replace(*paths))
    Progress(file, "subject").save(NOON)
    assert calls == [file.stat().st_size, "replace"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"subject":"x","last":"2024-01-01T00:00:00Z"}'])
def test_progress_of_another_subject_is_ignored(tmp_path, content, caplog):
    file = tmp_path / "agent.progress"
    file.write_bytes(content)
    assert Progress(file, "subject").last is None
    assert "starts anew" in caplog.text


def test_an_outage_of_the_feed_is_waited_for_and_nothing_is_missed():
    clock, publisher = Clock(), Recorder()
    feed = Broken(SyntheticFeed("crypto", 3, clock))
    subject = agent(clock, publisher, feed=feed)
    subject.start()
    feed.script = [FeedOutage("out", 30), *[FeedOutage("out")] * 12]
    run_until(subject, clock, NOON + 60 * MINUTE)
    assert clock.waits[0] >= 30
    assert max(clock.waits) <= 75
    assert publisher.ids == expected(NOON, clock.now)[: len(publisher.ids)]
    assert subject.handled >= 58


def test_a_feed_that_refuses_ends_the_agent():
    clock = Clock()
    feed = Broken(SyntheticFeed("crypto", 3, clock))
    subject = agent(clock, Recorder(), feed=feed)
    subject.start()
    feed.script = [FeedError("the key was revoked")]
    with pytest.raises(FeedError, match="revoked"):
        subject.run()


def test_an_outage_at_the_start_is_tried_three_times():
    clock = Clock()
    feed = Broken(SyntheticFeed("crypto", 3, clock), *[FeedOutage("unreachable")] * 3)
    with pytest.raises(FeedOutage):
        agent(clock, Recorder(), feed=feed).start()
    assert clock.waits == [1, 2]
    feed.script = [FeedOutage("limited", 20)]
    agent(clock, Recorder(), feed=feed).start()
    assert clock.waits[2:] == [20]


def test_a_full_outbox_is_waited_for(tmp_path):
    clock, publisher = Clock(), Recorder()
    subject = agent(clock, publisher, Progress(tmp_path / "agent.progress", "subject"))
    subject.start()
    publisher.script = [OutboxFull("full")] * 4
    run_until(subject, clock, NOON + 60 * MINUTE)
    assert publisher.ids == expected(NOON, clock.now)[: len(publisher.ids)]
    assert publisher.script == []


def test_a_signal_that_was_not_stored_is_sent_after_a_restart(tmp_path):
    file, clock, publisher = tmp_path / "agent.progress", Clock(), Recorder()
    first = agent(clock, publisher, Progress(file, "subject"))
    first.start()
    publisher.script = [OutboxFull("full")] * 1000
    run_until(first, clock, NOON + 60 * MINUTE)
    assert publisher.ids == []
    publisher.script, clock.until = [], None
    second = agent(clock, publisher, Progress(file, "subject"))
    second.start()
    second.run_once()
    assert publisher.ids == expected(NOON, clock.now)
    assert publisher.ids


def test_a_signal_that_breaks_the_schema_harms_no_other():
    clock, publisher = Clock(), Recorder()
    subject = agent(clock, publisher)
    subject.start()
    clock.now += 60 * MINUTE
    whole = expected(NOON, clock.now)

    def publish(signals):
        if bad := [signal for signal in signals if signal.signal_id == whole[1]]:
            raise InvalidSignal(bad[0], Refusal("invalid", "made up by the test"))
        publisher.signals += signals

    publisher.publish_many = publish
    subject.run_once()
    assert publisher.ids == [whole[0], *whole[2:]]


def test_a_heartbeat_comes_with_each_slot_unless_signals_wait():
    clock, publisher = Clock(NOON + 7 * MINUTE), Recorder()
    subject = agent(clock, publisher, heartbeat=15 * MINUTE)
    subject.start()
    run_until(subject, clock, NOON + 29 * MINUTE)
    publisher.waiting = 1
    run_until(subject, clock, NOON + 45 * MINUTE)
    publisher.waiting = 0
    run_until(subject, clock, NOON + 61 * MINUTE)
    beats = [signal for signal in publisher.signals if "heartbeat" in signal.tags]
    assert [(beat.timestamp - NOON) / MINUTE for beat in beats] == [0, 15, 45, 60]
    beat = beats[0]
    assert (beat.action, beat.signal_type, beat.agent_source) == ("HOLD", "ANALYTICS", "agent")
    assert beat.tags == ("heartbeat", "synthetic", "synthetic:3")
    assert wire.parse(beat.to_json()) == beat
    assert beat.raw_payload["interval"] == 900
    assert heartbeat(agent(clock, publisher).strategy, NOON, 15 * MINUTE) == beat
    assert heartbeat(agent(clock, publisher).strategy, NOON, MINUTE).signal_id != beat.signal_id


def test_an_outbox_that_cannot_be_read_now_costs_heartbeats_alone(caplog):
    clock, publisher = Clock(), Recorder()
    subject = agent(clock, publisher, heartbeat=MINUTE)
    subject.start()
    publisher.waiting = OutboxError("the disk does not answer")
    run_until(subject, clock, NOON + 60 * MINUTE)
    assert publisher.ids == expected(NOON, clock.now)[: len(publisher.ids)]
    assert publisher.ids
    assert "no heartbeat: the disk does not answer" in caplog.text


def test_an_agent_without_its_feed_sends_no_heartbeat():
    clock, publisher = Clock(), Recorder()
    feed = Broken(SyntheticFeed("crypto", 3, clock))
    subject = agent(clock, publisher, feed=feed, heartbeat=15 * MINUTE)
    subject.start()
    feed.script = [FeedOutage("out", 3600)]
    run_until(subject, clock, NOON + 50 * MINUTE)
    assert publisher.signals == []


def test_it_waits_for_the_next_candle_to_close_and_at_most_a_minute():
    clock = Clock(NOON + timedelta(seconds=10))
    subject = agent(clock, Recorder())
    assert subject.poll_delay() == 3
    subject.start()  # the newest candle closed at noon, the next one does in 50 seconds
    assert subject.poll_delay() == 52
    clock.now += timedelta(hours=3)
    assert subject.poll_delay() == 3


@pytest.fixture
def replayed(tmp_path):
    path = tmp_path / "candles.csv"
    write(path, 600)
    return path


def test_a_replay_warms_up_with_its_first_candles_and_ends(replayed):
    clock, publisher = Clock(), Recorder()
    subject = agent(clock, publisher, feed=CsvFeed(replayed), finite=True, heartbeat=MINUTE)
    subject.start()
    subject.run()
    assert subject.handled == 600
    assert publisher.ids == replay_ids(replayed, "agent")
    assert clock.waits == []


@pytest.mark.parametrize("seconds", [100, 550])
def test_a_paced_replay_can_be_stopped_and_continued(replayed, tmp_path, seconds):
    file, clock, publisher = tmp_path / "agent.progress", Clock(), Recorder()
    first = agent(clock, publisher, Progress(file, "s"), CsvFeed(replayed), finite=True, speed=60)
    first.start()
    run_until(first, clock, NOON + timedelta(seconds=seconds))
    assert first.handled == seconds
    assert set(clock.waits) == {1.0}
    assert (len(publisher.ids) > 0) == (seconds > first.strategy.history)
    assert len(publisher.ids) < len(replay_ids(replayed, "agent"))
    clock.until = None
    second = agent(clock, publisher, Progress(file, "s"), CsvFeed(replayed), finite=True)
    second.start()
    second.run()
    assert publisher.ids == replay_ids(replayed, "agent")
    third = agent(clock, publisher, Progress(file, "s"), CsvFeed(replayed), finite=True)
    third.start()
    third.run()
    assert publisher.ids == replay_ids(replayed, "agent")


def test_ten_minutes_without_a_hub_lose_and_disorder_nothing(tmp_path, free_port):
    clock = Clock()
    seconds = lambda: (clock.now - NOON).total_seconds()  # noqa: E731
    url = f"http://127.0.0.1:{free_port}/api/signals"
    bus = EventBus(
        [WebhookTransport(url, "secret")],
        outbox=Outbox(tmp_path / "outbox.sqlite3"),
        background=False,
        clock=seconds,
    )

    class Delivering(Recorder):
        def publish_many(self, signals):
            super().publish_many(signals)
            bus.publish_many(signals)

        def backlog(self):
            bus.flush()
            return bus.backlog()

    publisher = Delivering()
    subject = agent(clock, publisher, heartbeat=MINUTE)
    subject.start()
    with bus:
        run_until(subject, clock, NOON + 10 * MINUTE)
        assert len(publisher.ids) > 0
        assert bus.outbox.counts() == {("webhook", "pending"): len(publisher.ids)}
        with Receiver(free_port) as hub:
            run_until(subject, clock, NOON + 20 * MINUTE)
            bus.flush()
            assert bus.outbox.counts() == {}
            assert hub.ids == publisher.ids
    trades = [s for s in publisher.signals if s.signal_type == "MARKET"]
    assert all(a.timestamp < b.timestamp for a, b in pairwise(trades))


def test_memory_stays_flat(tmp_path):
    path, publisher = tmp_path / "long.csv", Recorder()
    write(path, 30_000)
    publisher.publish_many = lambda _: None
    subject = agent(Clock(), publisher, feed=CsvFeed(path), finite=True)
    candles = CsvFeed(path).candles("MADE/UP", "1m")
    for _ in range(5000):
        subject.handle(next(candles))
    tracemalloc.start()
    try:
        for _ in range(5000):
            subject.handle(next(candles))
        early = tracemalloc.get_traced_memory()[0]
        for _ in range(20_000):
            subject.handle(next(candles))
        assert tracemalloc.get_traced_memory()[0] - early < 500_000
    finally:
        tracemalloc.stop()
