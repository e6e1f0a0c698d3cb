"""Pages at 100,000 and at 5,000,000 signals: their cost must not grow with the ledger."""

import json

from benchmarks.race import Goal, Race
from benchmarks.stage import Stage

SMALL, LARGE = 100_000, 5_000_000

GROW = """
    INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action, entry_price, agent_source,
        raw_payload, transport, received_at, instrument, digest, position)
    SELECT 'page-' || n, (ARRAY['crypto', 'forex', 'stock'])[1 + n % 3], now() - interval '1 day', 'BTCUSDT',
        'BUY', n % 60000 + 1, 'agent-' || 1 + n % {agents}, '{{"rsi": 50}}', 'redis',
        now() - interval '1 day',
        (ARRAY['BTC/USDT', 'EUR/USD', 'AAPL'])[1 + n % 3], sha256(n::text::bytea), n
    FROM generate_series({first}, {last}) AS n"""

AGENTS = 200

# A day of rollups by minute, a week of those by hour: what the dashboard looks back to.
ROLL_UP = f"""
    INSERT INTO arrival_{{period}}s
        ({{period}}, ecosystem, agent_source, transport, accepted, duplicates, conflicts, refused, {{column}})
    SELECT moment, (ARRAY['crypto', 'forex', 'stock'])[1 + agent % 3], 'agent-' || agent, 'redis', 100, 0, 0,
        0, {{value}}
    FROM generate_series(1, {AGENTS}) AS agent, generate_series(
        date_trunc('{{period}}', now()) - interval '{{days}} d', now(), interval '1 {{period}}') AS moment"""

KNOWN = f"""
    INSERT INTO agents (ecosystem, agent_source, first_seen, last_seen, last_transport, signals)
    SELECT (ARRAY['crypto', 'forex', 'stock'])[1 + agent % 3], 'agent-' || agent, now() - interval '8 days',
        now(), 'redis', 100
    FROM generate_series(1, {AGENTS}) AS agent"""


def race(stage: Stage) -> Race:
    pages = Pages(stage)
    return Race(
        "A page of the feed (500) and the dashboard",
        "ms",
        {
            f"feed, {SMALL:,} signals": lambda: pages.at(SMALL)["feed"],
            f"dashboard, {SMALL:,} signals": lambda: pages.at(SMALL)["dashboard"],
            f"feed, {LARGE:,} signals": lambda: pages.at(LARGE)["feed"],
            f"dashboard, {LARGE:,} signals": lambda: pages.at(LARGE)["dashboard"],
        },
        [
            Goal(f"{page}, {LARGE:,} signals", f"{page}, {SMALL:,} signals", 1.5, 1.1, at_most=True)
            for page in ("feed", "dashboard")
        ],
        rounds=1,
    )


class Pages:
    """Grows the ledger, and has a process with the hub's own code ask for pages of it.

    The one race that does not interleave: a ledger that has grown cannot shrink between two runs. Each figure
    is a median over many pages instead.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.size = 0
        self.figures: dict[int, dict[str, float]] = {}

    def at(self, size: int) -> dict[str, float]:
        if size not in self.figures:
            self._grow(size)
            self.figures[size] = json.loads(self.stage.run("-m", "benchmarks.page_times", str(size)))
        return self.figures[size]

    def _grow(self, size: int) -> None:
        if self.size == 0:
            self.stage.empty()
            self.stage.sql(KNOWN)
            self.stage.sql(ROLL_UP.format(period="minute", days=1, column="lags", value="'{}'"))
            self.stage.sql(ROLL_UP.format(period="hour", days=7, column="last_at", value="now()"))
            self.stage.sql("ANALYZE arrival_minutes, arrival_hours, agents")
        self.stage.sql(GROW.format(first=self.size + 1, last=size, agents=AGENTS))
        self.stage.sql("VACUUM ANALYZE trading_signals")
        self.size = size
