"""The follower that counts recorded signals, for the dashboard, the alerts and the metrics.

The rollups' size depends on how many agents there are and for how long, never on how many signals came. What
the dashboard asks of them is in `aggregator.arrivals.queries`.
"""

from typing import Any

import msgspec

from aggregator.followers import Follower
from aggregator.ledger import rollup_writer
from aggregator.ledger.rollup_writer import LAG_BOUNDS, Arrivals
from ecosystems.market.symbols import has_certain_name

# Agents with rights of their own may write any time into `received_at`. Bounds and lag are negated, since a
# lag that equals a bound is within it. A replayed signal has no lag: it was kept here since it came.
COUNT = f"""
    SELECT ecosystem, agent_source, transport, date_trunc('minute', recorded_at)::text, max(seen_at)::text,
        count(*), ARRAY[{
    ", ".join(f"count(*) FILTER (WHERE bucket = {bucket})" for bucket in range(len(LAG_BOUNDS) + 1))
}]
    FROM (
        SELECT ecosystem, agent_source, transport, recorded_at,
            coalesce(first_received_at, came_at) AS seen_at,
            CASE WHEN first_received_at IS NULL THEN {len(LAG_BOUNDS)} - width_bucket("timestamp" - came_at,
                ARRAY[{", ".join(f"'-{bound} seconds'" for bound in reversed(LAG_BOUNDS))}]::interval[])
            END AS bucket
        FROM trading_signals
        CROSS JOIN LATERAL (
            SELECT CASE WHEN received_at BETWEEN '2000-01-01Z' AND recorded_at THEN received_at
                ELSE recorded_at END AS came_at) AS arrival
        WHERE position > %(after)s AND position <= %(upto)s) AS recorded
    GROUP BY 1, 2, 3, 4"""

SYMBOLS = """
    SELECT ecosystem, symbol, count(*) FROM trading_signals
    WHERE position > %(after)s AND position <= %(upto)s GROUP BY 1, 2"""

ADD_SYMBOLS = """
    INSERT INTO symbol_aliases AS known (ecosystem, symbol, instrument, first_seen, last_seen, signals)
    SELECT ecosystem, symbol, '', now(), now(), signals
    FROM json_to_recordset(%(symbols)s::json) AS uncertain (ecosystem text, symbol text, signals bigint)
    ORDER BY ecosystem, symbol
    ON CONFLICT (ecosystem, symbol) DO UPDATE SET last_seen = excluded.last_seen,
        first_seen = coalesce(known.first_seen, excluded.first_seen),
        signals = known.signals + excluded.signals"""

# What reads the rollups takes nothing for final that the follower may still add to.
UNCOUNTED_SINCE = """(
        SELECT recorded_at FROM trading_signals
        WHERE position > coalesce((SELECT position FROM followers WHERE name = 'rollups'), 0)
        ORDER BY position LIMIT 1)"""
"""When the oldest signal was recorded that is not counted yet; null if all are."""


class RollupFollower(Follower):
    """Counts recorded signals by minute, hour and agent, and the symbols whose spelling is ambiguous."""

    name = "rollups"

    def apply(self, cursor: Any, after: int, upto: int) -> None:
        between = {"after": after, "upto": upto}
        cursor.execute(COUNT, between)
        arrivals = [
            Arrivals(
                ecosystem, agent, transport, minute=minute, seen_at=seen_at, accepted=accepted, lags=lags
            )
            for ecosystem, agent, transport, minute, seen_at, accepted, lags in cursor.fetchall()
        ]
        cursor.execute(SYMBOLS, between)
        uncertain = [
            {"ecosystem": ecosystem, "symbol": symbol, "signals": signals}
            for ecosystem, symbol, signals in cursor.fetchall()
            if not has_certain_name(ecosystem, symbol)
        ]
        rollup_writer.add(cursor, arrivals)
        if uncertain:
            cursor.execute(ADD_SYMBOLS, {"symbols": msgspec.json.encode(uncertain).decode()})
