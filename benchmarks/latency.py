"""From `publish` to the commit that gives the signal its position, by Postgres's own commit timestamps."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import quantiles

from benchmarks import data
from benchmarks.race import Goal, Race
from benchmarks.stage import SECRET, Stage, end, until
from benchmarks.web import OURS
from ecosystems.bus import EventBus
from ecosystems.bus.database import DatabaseTransport
from ecosystems.bus.redis import RedisTransport
from ecosystems.bus.transport import Transport
from ecosystems.bus.webhook import WebhookTransport

RATE = 200
SIGNALS = 1_000

COMMITTED = """
    SELECT signal_id, extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM trading_signals
    WHERE position IS NOT NULL"""


def race(stage: Stage) -> Race:
    counter = iter(range(1_000_000))

    def through(transport: Callable[[int], Transport], *programs: Sequence[str]) -> float:
        stage.empty()
        with ExitStack() as stack:
            port = stack.enter_context(stage.serving(*OURS))
            for program in programs:
                stack.callback(end, stage.start(*program))
            bus = stack.enter_context(EventBus([transport(port)]))
            for signal in data.signals(1, f"warm{next(counter)}"):
                bus.publish(signal)
            until(lambda: stage.sql(COMMITTED), "the first signal")
            return _p99(stage, bus, f"latency{next(counter)}")

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
        },
        [
            Goal("redis", None, 100, 50, at_most=True),
            Goal("webhook", None, 100, 50, at_most=True),
            Goal("database", None, 1500, 750, at_most=True),
        ],
    )


def _p99(stage: Stage, bus: EventBus, prefix: str) -> float:
    """Publish at the rate, each signal at its time whatever became of the last; return milliseconds."""
    sent: dict[str, float] = {}
    started = time.time()
    for number, signal in enumerate(data.signals(SIGNALS, prefix)):
        if (ahead := started + number / RATE - time.time()) > 0:
            time.sleep(ahead)
        # Measured from when it was due: a publisher that is held up does not hide its delay.
        sent[signal.signal_id] = started + number / RATE
        bus.publish(signal)
    until(lambda: len(stage.sql(COMMITTED)) == SIGNALS + 1, "all signals")
    committed = {str(name): float(str(moment)) for name, moment in stage.sql(COMMITTED)}
    return quantiles([committed[name] - moment for name, moment in sent.items()], n=100)[98] * 1000
