"""From `publish` to the commit that gives the signal its position, by Postgres's own commit timestamps."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from statistics import quantiles

from benchmarks import data
from benchmarks.race import Goal, Race
from benchmarks.stage import SECRET, Stage, end, until
from benchmarks.web import RECEIVER
from ecosystems.bus import EventBus
from ecosystems.bus.database import DatabaseTransport
from ecosystems.bus.redis import RedisTransport
from ecosystems.bus.transport import Transport
from ecosystems.bus.webhook import WebhookTransport

RATE = 200
PUBLISHERS = 4
"""Agents that share the rate: one alone, which waits for each answer, would measure itself."""
SIGNALS = 1_000
DISK = "the disk alone: write 8 KiB, fdatasync"
"""No commit is faster than that, and on a rented server it may take a second now and then."""

COMMITTED = """
    SELECT signal_id, extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM trading_signals
    WHERE position IS NOT NULL"""


def race(stage: Stage) -> Race:
    counter = iter(range(1_000_000))

    def through(transport: Callable[[int], Transport], *programs: Sequence[str]) -> float:
        stage.empty()
        with ExitStack() as stack:
            port = stack.enter_context(stage.serving(*RECEIVER))
            for program in programs:
                stack.callback(end, stage.start(*program))
            buses = [stack.enter_context(EventBus([transport(port)])) for _ in range(PUBLISHERS)]
            for bus, signal in zip(buses, data.signals(PUBLISHERS, f"warm{next(counter)}"), strict=True):
                bus.publish(signal)
            until(lambda: len(stage.sql(COMMITTED)) == PUBLISHERS, "the first signals")
            return _p99(stage, buses, f"latency{next(counter)}")

    return Race(
        f"From publish to commit at {RATE} signals/s, 99th percentile",
        "ms",
        {
            "redis": lambda: through(
                lambda _: RedisTransport(stage.redis_url), ("manage.py", "consume_streams")
            ),
            "webhook": lambda: through(
                lambda port: WebhookTransport(f"http://127.0.0.1:{port}/api/signals", SECRET)
            ),
            "database": lambda: through(
                lambda _: DatabaseTransport(stage.database_url), ("manage.py", "consume_databases")
            ),
            DISK: lambda: _of_disk(stage),
        },
        [
            Goal("redis", None, 100, 50, at_most=True),
            Goal("webhook", None, 100, 50, at_most=True),
            Goal("database", None, 1500, 750, at_most=True),
        ],
    )


def _p99(stage: Stage, buses: list[EventBus], prefix: str) -> float:
    """Publish at the rate, each signal at its time whatever became of the last; return milliseconds."""
    signals = data.signals(SIGNALS, prefix)
    started = time.time()

    def publish(publisher: int) -> list[tuple[str, float]]:
        sent = []
        for number in range(publisher, SIGNALS, PUBLISHERS):
            due = started + number / RATE
            if (ahead := due - time.time()) > 0:
                time.sleep(ahead)
            # Measured from when it was due: a publisher that is held up does not hide its delay.
            sent.append((signals[number].signal_id, due))
            buses[publisher].publish(signals[number])
        return sent

    with ThreadPoolExecutor(PUBLISHERS) as pool:
        sent = dict(chain.from_iterable(pool.map(publish, range(PUBLISHERS))))
    until(lambda: len(stage.sql(COMMITTED)) == SIGNALS + PUBLISHERS, "all signals")
    committed = {str(name): float(str(moment)) for name, moment in stage.sql(COMMITTED)}
    return _percentile([committed[name] - due for name, due in sent.items()])


def _of_disk(stage: Stage) -> float:
    """Return what the disk under Postgres takes, one page after another, in milliseconds."""
    seconds = []
    with (stage.home / "fdatasync").open("wb", buffering=0) as file:
        for _ in range(SIGNALS):
            started = time.perf_counter()
            os.pwrite(file.fileno(), bytes(8192), 0)
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return _percentile(seconds)


def _percentile(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98] * 1000
