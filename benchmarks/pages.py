"""Pages at 100,000 and at 5,000,000 signals: their cost must not grow with the ledger."""

from collections.abc import Callable
from functools import partial

from benchmarks.race import Goal, Race
from benchmarks.stage import Stage

PAGES = ("feed", "dashboard")
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
    pairs = [(page, size) for page in PAGES for size in (SMALL, LARGE)]
    return Race(
        "A page of the feed (500) and the dashboard",
        "ms",
        {_name(page, size): partial(pages.time, page, size) for page, size in pairs},
        [Goal(_name(page, LARGE), _name(page, SMALL), 1.5, 1.1, at_most=True) for page in PAGES],
    )


def _name(page: str, size: int) -> str:
    return f"{page}, {size:,} signals"


class Pages:
    """A ledger of each size, and for each a process with the hub's own code that is asked for pages of it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.asked: dict[int, Callable[[str], str]] = {}

    def time(self, page: str, size: int) -> float:
        """Return the median of some pages in milliseconds; the first call makes both ledgers."""
        for missing in (SMALL, LARGE):
            if missing not in self.asked:
                self.asked[missing] = self._with(missing)
        return float(self.asked[size](page))

    def _with(self, size: int) -> Callable[[str], str]:
        stage = self.stage.with_database(f"pages_{size}")
        stage.sql(KNOWN)
        stage.sql(ROLL_UP.format(period="minute", days=1, column="lags", value="'{}'"))
        stage.sql(ROLL_UP.format(period="hour", days=7, column="last_at", value="now()"))
        stage.sql(GROW.format(first=1, last=size, agents=AGENTS))
        stage.sql("VACUUM ANALYZE trading_signals, arrival_minutes, arrival_hours, agents")
        return stage.answering("-m", "benchmarks.page_times", str(size))
