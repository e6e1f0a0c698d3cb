"""The transparency log: a million leaves, and what a proof and a checkpoint take then."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from benchmarks.race import Goal, Race
from benchmarks.stage import Stage

SMALL, LARGE = 10_000, 1_000_000
WORK = ("proof", "checkpoint")
SEAL = f"seal {LARGE:,} signals"
PROCESSOR = "sealing, time of the processors"

LEDGER = """
    INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action, entry_price, stop_loss,
        take_profit, confidence, agent_source, tags, raw_payload, transport, sender, instrument, digest,
        position, recorded_at)
    SELECT 'log-' || n, (ARRAY['crypto', 'forex', 'stock'])[1 + n % 3], now() - interval '1 day', 'BTCUSDT',
        'BUY', n % 60000 + 1.25, n % 60000 + 0.5, n % 60000 + 2, n % 1000 / 1000.0, 'agent-' || n % 200,
        '["ema"]', '{{"rsi": 50.5, "fast": 12, "slow": 26}}', 'redis', 'key:bench', 'BTC/USDT',
        sha256(n::text::bytea), n, now()
    FROM generate_series({first}, {last}) AS n"""


class Log:
    """Logs of both sizes, each in a database of its own, made when they are first asked for."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.made: dict[int, Callable[[str], str]] = {}
        self.sealing: dict[str, float] = {}

    def seal(self, figure: str) -> float:
        """Return how long a worker took to seal the large ledger, its own start included, in milliseconds."""
        self._of(LARGE)
        return self.sealing[figure]

    def time(self, work: str, size: int) -> float:
        """Return the median of some proofs or checkpoints, in milliseconds."""
        return float(self._of(size)(work))

    def _of(self, size: int) -> Callable[[str], str]:
        if size not in self.made:
            self.made[size] = self._make(size)
        return self.made[size]

    def _make(self, size: int) -> Callable[[str], str]:
        database = self.stage.with_database(f"log_{size}")
        folder = {"CORE_LOG_DIR": str(self.stage.home / f"log_{size}")}
        endpoint = {"AGG_SIGNAL_ENDPOINT": "https://bench.example.com/api/signals"}
        stage = replace(database, environ=database.environ | folder | endpoint)
        stage.sql(LEDGER.format(first=1, last=size))
        stage.sql("VACUUM ANALYZE trading_signals")
        stage.run("manage.py", "transparency", "init")
        used, started = stage.processor_seconds(), time.monotonic()
        stage.run("manage.py", "run_worker", "--only", "transparency", "--once")
        if size == LARGE:
            elapsed, spent = time.monotonic() - started, stage.processor_seconds() - used
            self.sealing = {SEAL: elapsed * 1000, PROCESSOR: spent * 1000}
        return stage.answering("-m", "benchmarks.log_times", str(size))


def race(stage: Stage) -> Race:
    log = Log(stage)
    pairs = [(work, size) for work in WORK for size in (SMALL, LARGE)]
    return Race(
        "The transparency log",
        "ms",
        {
            **{figure: partial(log.seal, figure) for figure in (SEAL, PROCESSOR)},
            **{_name(*pair): partial(log.time, *pair) for pair in pairs},
        },
        [
            Goal(SEAL, None, 60_000, at_most=True),
            Goal(_name("proof", LARGE), None, 20, at_most=True),
            Goal(_name("checkpoint", LARGE), None, 50, at_most=True),
            Goal(_name("checkpoint", LARGE), _name("checkpoint", SMALL), 1.5, at_most=True),
        ],
    )


def _name(work: str, size: int) -> str:
    return f"{work}, {size:,} leaves"
