"""The track record: a million calls scored through ten candles each, and the page of an agent with many."""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import psutil

from benchmarks.race import Goal, Race
from benchmarks.stage import Stage, end

CALLS, CANDLES, INSTRUMENTS, AGENTS = 1_000_000, 10, 100, 10
SAMPLE_INTERVAL_S = 0.5

# Ten minutes for each call of an instrument, so that no two share a candle.
FROM = "date_trunc('day', now()) - interval '80 days'"
LEDGER = f"""
    INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action, entry_price, stop_loss,
        take_profit, agent_source, transport, received_at, instrument, digest, position, recorded_at)
    SELECT 'call-' || n, 'crypto', at - interval '2 s', 'C/USDT', 'BUY', 100, 98, 104,
        'agent-' || n % {AGENTS}, 'redis', at, 'C' || n % {INSTRUMENTS} || '/USDT', sha256(n::text::bytea),
        n + 1, at
    FROM generate_series(0, {CALLS - 1}) AS n CROSS JOIN LATERAL (
        SELECT {FROM} - interval '30 s' + n / {INSTRUMENTS} * interval '{CANDLES} min' AS at) AS moment"""

# The last candle of a call reaches its target, or that of every third its stop.
PRICES = f"""
    INSERT INTO candles (ecosystem, instrument, opened_at, open, high, low, close, feed)
    SELECT 'crypto', 'C{{instrument}}/USDT', {FROM} + n * interval '1 min', 100,
        CASE WHEN is_last AND NOT loses THEN 105 ELSE 101 END,
        CASE WHEN is_last AND loses THEN 97 ELSE 99 END, 100, 'bench'
    FROM generate_series(0, {CALLS // INSTRUMENTS * CANDLES - 1}) AS n CROSS JOIN LATERAL (
        SELECT n % {CANDLES} = {CANDLES - 1} AS is_last, n / {CANDLES} % 3 = 0 AS loses) AS call"""

PUBLISH = """
    INSERT INTO agents (ecosystem, agent_source, first_seen, last_seen, last_transport, signals, published_at)
    SELECT DISTINCT ON (agent_source) 'crypto', agent_source, now(), now(), 'redis', 1, now()
    FROM trading_signals"""

SCORE = f"score {CALLS:,} calls through {CANDLES} candles each"
PROCESSOR = "scoring, time of the processors"
MEMORY = "the scorer's memory, last quarter against second"
PAGE = f"public page of an agent with {CALLS // AGENTS:,} calls"


class Record:
    """A ledger of calls with their prices, scored when it is first asked for."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.figures: dict[str, float] = {}
        self.page: Callable[[str], str] | None = None

    def figure(self, name: str) -> float:
        """Return a figure of the scoring."""
        if not self.figures:
            self._prepare()
            self._score()
        return self.figures[name]

    def page_s(self) -> float:
        """Return the median of some pages, in seconds."""
        if self.page is None:
            self.figure(SCORE)
            self.page = self.stage.answering("-m", "benchmarks.page_times", str(CALLS))
        return float(self.page("record")) / 1000

    def _prepare(self) -> None:
        self.stage = self.stage.with_database("record")
        self.stage.sql(LEDGER)
        self.stage.sql(PUBLISH)
        for instrument in range(INSTRUMENTS):
            self.stage.sql(PRICES.format(instrument=instrument))
        self.stage.sql("VACUUM ANALYZE trading_signals, candles")

    def _score(self) -> None:
        resident: list[int] = []
        used, started = self.stage.processor_seconds(), time.monotonic()
        program = self.stage.start("manage.py", "score", "--once")
        process = psutil.Process(program.pid)
        try:
            while program.poll() is None:
                resident.append(process.memory_info().rss)
                time.sleep(SAMPLE_INTERVAL_S)
        finally:
            end(program)
        elapsed = time.monotonic() - started
        quarter = len(resident) // 4
        self._expect_scored()
        self.figures = {
            SCORE: elapsed,
            PROCESSOR: self.stage.processor_seconds() - used,
            MEMORY: median(resident[-quarter:]) / median(resident[quarter : 2 * quarter]),
        }

    def _expect_scored(self) -> None:
        [(closed,)] = self.stage.sql("SELECT count(*) FROM outcomes WHERE state = 'closed'")
        if closed != CALLS:
            raise RuntimeError(f"{closed} of {CALLS} calls are closed")


def race(stage: Stage) -> Race:
    record = Record(stage)
    return Race(
        "The track record",
        "s",
        {name: partial(record.figure, name) for name in (SCORE, PROCESSOR, MEMORY)} | {PAGE: record.page_s},
        [
            Goal(SCORE, None, 600, at_most=True),
            Goal(MEMORY, None, 1.05, at_most=True),
            Goal(PAGE, None, 0.3, at_most=True),
        ],
    )
