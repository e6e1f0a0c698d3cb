"""The follower that counts recorded signals, for the dashboard, the alerts and the metrics.

The rollups' size depends on how many agents there are and for how long, never on how many signals came; and
of agents and symbols a sender may bring CORE_SENDER_NEW_NAMES an hour. What the dashboard asks of them is in
`aggregator.arrivals.queries`.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from aggregator.followers import Follower
from aggregator.ledger import rollup_writer
from aggregator.ledger.new_names import Name, beyond_limits
from aggregator.ledger.rollup_writer import LAG_BOUNDS, OTHER, REPLAYED, Arrivals, Sent
from ecosystems.agent import heartbeat
from ecosystems.market.feeds import REPLAY
from ecosystems.market.symbols import has_certain_name

# Agents with rights of their own may write any time into `received_at`. Bounds and lag are negated, since a
# lag that equals a bound is within it. A replayed dead letter has no lag: it was kept here since it came. A
# signal that is tagged as a replay is about the past: it has none either, and is no sign of life.
COUNT = f"""
    SELECT sender, ecosystem, CASE WHEN is_replay THEN '{REPLAYED}' ELSE agent_source END AS agent, transport,
        date_trunc('minute', recorded_at)::text, min(seen_at)::text, max(seen_at)::text,
        extract(epoch FROM nullif(max(gap), '0'))::float8,
        (array_agg(heartbeat ORDER BY position DESC) FILTER (WHERE heartbeat > 0))[1]::float8,
        count(*), ARRAY[{
    ", ".join(f"count(*) FILTER (WHERE bucket = {bucket})" for bucket in range(len(LAG_BOUNDS) + 1))
}]
    FROM (
        SELECT *, seen_at - lag(seen_at) OVER (
                PARTITION BY ecosystem, agent_source, is_replay ORDER BY seen_at) AS gap
        FROM (
            SELECT position, sender, ecosystem, agent_source, transport, recorded_at,
                coalesce(first_received_at, came_at) AS seen_at, is_replay,
                CASE WHEN signal_type = 'ANALYTICS' AND tags ? '{heartbeat.TAG}'
                        AND jsonb_typeof(raw_payload -> '{heartbeat.INTERVAL}') = 'number'
                    THEN least((raw_payload ->> '{heartbeat.INTERVAL}')::numeric, {heartbeat.MAX_INTERVAL_S})
                    END AS heartbeat,
                CASE WHEN first_received_at IS NULL AND NOT is_replay
                    THEN {len(LAG_BOUNDS)} - width_bucket("timestamp" - came_at,
                        ARRAY[{
    ", ".join(f"'-{bound} seconds'" for bound in reversed(LAG_BOUNDS))
}]::interval[])
                    END AS bucket
            FROM trading_signals
            CROSS JOIN LATERAL (
                SELECT CASE WHEN received_at BETWEEN '2000-01-01Z' AND recorded_at THEN received_at
                    ELSE recorded_at END AS came_at, tags ? '{REPLAY}' AS is_replay) AS arrival
            WHERE position > %(after)s AND position <= %(upto)s) AS recorded) AS spaced
    GROUP BY sender, ecosystem, agent, transport, 5 ORDER BY min(position)"""

# Those of which nothing but replays are known have no signals of their own: nothing watches them, but their
# calls are scored and may be published.
REPLAYED_AGENTS = f"""
    SELECT sender, ecosystem, agent_source, min(recorded_at)::text, max(transport) FROM trading_signals
    WHERE position > %(after)s AND position <= %(upto)s AND tags ? '{REPLAY}'
    GROUP BY 1, 2, 3 ORDER BY min(position)"""

ADD_REPLAYED_AGENTS = """
    INSERT INTO agents (ecosystem, agent_source, first_seen, last_seen, last_transport, signals)
    SELECT ecosystem, agent_source, min(seen_at), min(seen_at), min(transport), 0
    FROM json_to_recordset(%(agents)s::json) AS each (ecosystem text, agent_source text,
        seen_at timestamptz, transport text)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (ecosystem, agent_source) DO NOTHING"""

SYMBOLS = """
    SELECT sender, ecosystem, symbol, count(*) FROM trading_signals
    WHERE position > %(after)s AND position <= %(upto)s GROUP BY 1, 2, 3 ORDER BY min(position)"""

ADD_SYMBOLS = """
    INSERT INTO symbol_aliases AS known (ecosystem, symbol, instrument, first_seen, last_seen, signals)
    SELECT ecosystem, symbol, '', now(), now(), sum(signals)
    FROM json_to_recordset(%(symbols)s::json) AS uncertain (ecosystem text, symbol text, signals bigint)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (ecosystem, symbol) DO UPDATE SET last_seen = excluded.last_seen,
        first_seen = coalesce(known.first_seen, excluded.first_seen),
        signals = known.signals + excluded.signals"""

# What reads the rollups takes nothing for final that the follower may still add to.
UNCOUNTED_SINCE = """(
        SELECT recorded_at FROM trading_signals
        WHERE position > coalesce((SELECT position FROM followers WHERE name = 'rollups'), 0)
        ORDER BY position LIMIT 1)"""
"""When the oldest signal was recorded that is not counted yet; null if all are."""


class _Counted(NamedTuple):
    """A row of COUNT."""

    sender: str
    ecosystem: str
    agent: str
    transport: str
    minute: str
    first_at: str
    seen_at: str
    gap: float | None
    heartbeat: float | None
    accepted: int
    lags: list[int]


class RollupFollower(Follower):
    """Counts recorded signals by minute, hour and agent, and the symbols whose spelling is ambiguous."""

    name = "rollups"

    def apply(self, cursor: Any, after: int, upto: int) -> None:
        between = {"after": after, "upto": upto}
        cursor.execute(COUNT, between)
        counted = [_Counted(*row) for row in cursor.fetchall()]
        cursor.execute(SYMBOLS, between)
        symbols = [row for row in cursor.fetchall() if not has_certain_name(row[1], row[2])]
        names = [
            Name("agent", row.sender, row.ecosystem, row.agent) for row in counted if row.agent != REPLAYED
        ]
        cursor.execute(REPLAYED_AGENTS, between)
        replayed = cursor.fetchall()
        names += [Name("agent", *row[:3]) for row in replayed]
        names += [Name("symbol", *row[:3]) for row in symbols]
        beyond, new = beyond_limits(cursor, names)
        arrivals = _arrivals(
            row._replace(agent=OTHER) if ("agent", row.ecosystem, row.agent) in beyond else row
            for row in counted
        )
        sent = Counter[str]()
        for row in counted:
            sent[row.sender] += row.accepted
        senders = [Sent(sender, count, new_names=new[sender]) for sender, count in sent.items()]
        rollup_writer.add(cursor, rollup_writer.ADD_RECORDED, arrivals, senders)
        if kept := [row[1:] for row in replayed if ("agent", *row[1:3]) not in beyond]:
            self._add_replayed(cursor, kept)
        uncertain = [
            {
                "ecosystem": ecosystem,
                "symbol": OTHER if ("symbol", ecosystem, symbol) in beyond else symbol,
                "signals": signals,
            }
            for _, ecosystem, symbol, signals in symbols
        ]
        if uncertain:
            cursor.execute(ADD_SYMBOLS, {"symbols": msgspec.json.encode(uncertain).decode()})

    def _add_replayed(self, cursor: Any, agents: list[tuple[str, ...]]) -> None:
        columns = ("ecosystem", "agent_source", "seen_at", "transport")
        rows = [dict(zip(columns, agent, strict=True)) for agent in agents]
        cursor.execute(ADD_REPLAYED_AGENTS, {"agents": msgspec.json.encode(rows).decode()})


def _arrivals(counted: Iterable[_Counted]) -> list[Arrivals]:
    """Return the rows as arrivals, those of several senders or agents that count as one added up."""
    found: dict[tuple[str, str, str, str], Arrivals] = {}
    for row in counted:
        key = (row.ecosystem, row.agent, row.transport, row.minute)
        one = found.get(key)
        if one is None:
            found[key] = Arrivals(
                row.ecosystem,
                row.agent,
                row.transport,
                row.minute,
                row.first_at,
                row.seen_at,
                row.gap,
                row.heartbeat,
                accepted=row.accepted,
                lags=row.lags,
            )
            continue
        one.first_at, one.seen_at = min(one.first_at or "", row.first_at), max(one.seen_at or "", row.seen_at)
        one.gap = max(filter(None, (one.gap, row.gap)), default=None)
        one.heartbeat = row.heartbeat or one.heartbeat
        one.accepted += row.accepted
        one.lags = [sum(bucket) for bucket in zip(one.lags, row.lags, strict=True)]
    return list(found.values())
