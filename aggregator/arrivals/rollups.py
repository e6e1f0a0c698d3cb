"""The follower that counts recorded signals, for the dashboard, the alerts and the metrics.

The rollups' size depends on how many agents there are and for how long, never on how many signals came; and
of agents and symbols a sender may bring CORE_SENDER_NEW_NAMES an hour. What the dashboard asks of them is in
`aggregator.arrivals.queries`.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

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
    FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::text[])
        AS each (ecosystem, agent_source, seen_at, transport)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (ecosystem, agent_source) DO NOTHING"""

SYMBOLS = """
    SELECT sender, ecosystem, symbol, count(*) FROM trading_signals
    WHERE position > %(after)s AND position <= %(upto)s GROUP BY 1, 2, 3 ORDER BY min(position)"""

ADD_SYMBOLS = """
    INSERT INTO symbol_aliases AS known (ecosystem, symbol, instrument, first_seen, last_seen, signals)
    SELECT ecosystem, symbol, '', now(), now(), sum(signals)
    FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS uncertain (ecosystem, symbol, signals)
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


class RollupFollower(Follower):
    """Counts recorded signals by minute, hour and agent, and the symbols whose spelling is ambiguous."""

    name = "rollups"

    def apply(self, cursor: Any, after: int, upto: int) -> None:
        between = {"after": after, "upto": upto}
        cursor.execute(COUNT, between)
        rows = cursor.fetchall()
        counted = [(sender, replace(Arrivals(*recorded), lags=lags)) for sender, *recorded, lags in rows]
        cursor.execute(REPLAYED_AGENTS, between)
        replayed = cursor.fetchall()
        cursor.execute(SYMBOLS, between)
        symbols = [row for row in cursor.fetchall() if not has_certain_name(row[1], row[2])]
        names = [
            Name("agent", sender, one.ecosystem, one.agent_source)
            for sender, one in counted
            if one.agent_source != REPLAYED
        ]
        names += [Name("agent", *row[:3]) for row in replayed]
        names += [Name("symbol", *row[:3]) for row in symbols]
        beyond, new = beyond_limits(cursor, names)
        sent = Counter[str]()
        for sender, one in counted:
            sent[sender] += one.accepted
            if ("agent", one.ecosystem, one.agent_source) in beyond:
                one.agent_source = OTHER
        senders = [Sent(sender, count, new_names=new[sender]) for sender, count in sent.items()]
        rollup_writer.add(cursor, rollup_writer.ADD_RECORDED, _summed(one for _, one in counted), senders)
        if kept := [row[1:] for row in replayed if ("agent", *row[1:3]) not in beyond]:
            cursor.execute(ADD_REPLAYED_AGENTS, _columns(kept))
        uncertain = [
            (ecosystem, OTHER if ("symbol", ecosystem, symbol) in beyond else symbol, signals)
            for _, ecosystem, symbol, signals in symbols
        ]
        if uncertain:
            cursor.execute(ADD_SYMBOLS, _columns(uncertain))


def _columns(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return list(map(list, zip(*rows, strict=True)))


def _summed(parts: Iterable[Arrivals]) -> list[Arrivals]:
    """Return the arrivals with those of one agent, transport and minute added up, of all its senders."""
    found: dict[tuple[str | None, ...], Arrivals] = {}
    for part in parts:
        one = found.setdefault((part.ecosystem, part.agent_source, part.transport, part.minute), part)
        if one is part:
            continue
        one.first_at = min(filter(None, (one.first_at, part.first_at)))
        one.seen_at = max(filter(None, (one.seen_at, part.seen_at)))
        one.gap = max(filter(None, (one.gap, part.gap)), default=None)
        one.heartbeat = part.heartbeat or one.heartbeat
        one.accepted += part.accepted
        one.lags = [sum(bucket) for bucket in zip(one.lags, part.lags, strict=True)]
    return list(found.values())
