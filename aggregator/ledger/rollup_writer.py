"""Adding to the rollups: `arrival_hours`, `arrival_minutes`, `agents` and `sender_minutes`.

Two add to them: the follower of the ledger (`aggregator.arrivals.rollups`) what was recorded, and the ledger
what was not. Both go through the tables, and through the rows of each, in the same order, so that one may
wait for the other but never both.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

LAG_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86_400)
"""Upper bounds, in seconds, of the buckets in `arrival_minutes.lags`; one more is for what is later still."""

OTHER = "(other)"
"""What agents and symbols are counted under that a sender brings beyond CORE_SENDER_NEW_NAMES."""
REPLAYED = "(replayed)"
REFUSED = "(refused)"
"""What signals of the past and refused entries are counted under: they are no sign of life of an agent, and
what is refused says nothing about the agent that it names."""
NO_AGENTS = (REPLAYED, REFUSED)


class Arrivals(msgspec.Struct):
    """What one agent sent over one transport in one minute."""

    ecosystem: str
    agent_source: str
    transport: str
    minute: str | None = None
    """None for the current one."""
    first_at: str | None = None
    seen_at: str | None = None
    """When the agent was last heard of; None for now."""
    gap: float | None = None
    """The longest time between two of these signals, in seconds."""
    heartbeat: float | None = None
    """The interval, in seconds, that the latest heartbeat announces."""
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    refused: int = 0
    lags: list[int] = msgspec.field(default_factory=list)


class Sent(msgspec.Struct):
    """What one sender sent."""

    sender: str
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    refused: int = 0
    new_names: int = 0
    """Agents and symbols that were new."""


_ARRIVALS = """(
        SELECT coalesce(minute, date_trunc('minute', now())) AS minute, ecosystem, agent_source, transport,
            coalesce(first_at, seen_at, now()) AS first_at, coalesce(seen_at, now()) AS seen_at,
            make_interval(secs => gap) AS gap, make_interval(secs => heartbeat) AS heartbeat,
            accepted, duplicates, conflicts, refused, lags
        FROM json_to_recordset(%(arrivals)s::json) AS each (minute timestamptz, ecosystem text,
            agent_source text, transport text, first_at timestamptz, seen_at timestamptz, gap float8,
            heartbeat float8, accepted bigint, duplicates bigint, conflicts bigint, refused bigint,
            lags bigint[])) AS arrivals"""

_SUMS = """accepted = rollup.accepted + excluded.accepted,
        duplicates = rollup.duplicates + excluded.duplicates,
        conflicts = rollup.conflicts + excluded.conflicts, refused = rollup.refused + excluded.refused"""

_ADD = f"""
    INSERT INTO arrival_hours AS rollup (hour, ecosystem, agent_source, transport, accepted, duplicates,
        conflicts, refused, last_at)
    SELECT date_trunc('hour', minute) AS hour, ecosystem, agent_source, transport, sum(accepted),
        sum(duplicates), sum(conflicts), sum(refused), max(seen_at)
    FROM {_ARRIVALS}
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (hour, ecosystem, agent_source, transport) DO UPDATE SET {_SUMS},
        last_at = greatest(rollup.last_at, excluded.last_at);

    INSERT INTO arrival_minutes AS rollup (minute, ecosystem, agent_source, transport, accepted, duplicates,
        conflicts, refused, lags)
    SELECT minute, ecosystem, agent_source, transport, accepted, duplicates, conflicts, refused, lags
    FROM {_ARRIVALS}
    ORDER BY 1, 2, 3, 4
    ON CONFLICT (minute, ecosystem, agent_source, transport) DO UPDATE SET {_SUMS},
        lags = ARRAY(
            SELECT coalesce(before, 0) + coalesce(more, 0)
            FROM unnest(rollup.lags, excluded.lags) WITH ORDINALITY AS each (before, more, bucket)
            ORDER BY bucket)"""

# Signals of one request have one time, so that there is no gap between them.
_ADD_AGENTS = f"""
    INSERT INTO agents (ecosystem, agent_source, first_seen, last_seen, last_transport, signals, longest_gap,
        heartbeat_interval)
    SELECT ecosystem, agent_source, min(first_at), max(seen_at),
        (array_agg(transport ORDER BY seen_at DESC))[1], sum(accepted), max(gap),
        (array_agg(heartbeat ORDER BY seen_at DESC) FILTER (WHERE heartbeat IS NOT NULL))[1]
    FROM {_ARRIVALS}
    WHERE agent_source <> ALL (%(no_agents)s)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (ecosystem, agent_source) DO UPDATE SET signals = agents.signals + excluded.signals,
        first_seen = CASE agents.signals WHEN 0 THEN excluded.first_seen ELSE agents.first_seen END,
        last_seen = greatest(agents.last_seen, excluded.last_seen),
        last_transport = CASE WHEN excluded.last_seen < agents.last_seen THEN agents.last_transport
            ELSE excluded.last_transport END,
        longest_gap = greatest(agents.longest_gap, excluded.longest_gap,
            CASE WHEN agents.signals > 0 AND excluded.first_seen > agents.last_seen
                THEN excluded.first_seen - agents.last_seen END),
        heartbeat_interval = coalesce(excluded.heartbeat_interval, agents.heartbeat_interval)"""

# Duplicates are a sign of life of their agent. One without a row was counted among the others.
_SEE_AGENTS = f"""
    INSERT INTO agents (ecosystem, agent_source, first_seen, last_seen, last_transport, signals)
    SELECT ecosystem, agent_source, min(arrivals.seen_at), max(arrivals.seen_at),
        (array_agg(arrivals.transport ORDER BY arrivals.seen_at DESC))[1], 0
    FROM {_ARRIVALS} JOIN agents USING (ecosystem, agent_source)
    WHERE duplicates > 0
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (ecosystem, agent_source) DO UPDATE SET
        last_seen = greatest(agents.last_seen, excluded.last_seen),
        last_transport = excluded.last_transport"""

_ADD_SENT = f"""
    INSERT INTO sender_minutes AS rollup (minute, sender, accepted, duplicates, conflicts, refused, new_names)
    SELECT date_trunc('minute', now()), sender, accepted, duplicates, conflicts, refused, new_names
    FROM json_to_recordset(%(sent)s::json) AS each (sender text, accepted bigint, duplicates bigint,
        conflicts bigint, refused bigint, new_names bigint)
    ORDER BY sender
    ON CONFLICT (minute, sender) DO UPDATE SET {_SUMS},
        new_names = rollup.new_names + excluded.new_names"""

ADD_RECORDED = ";".join((_ADD, _ADD_AGENTS, _ADD_SENT))
ADD_UNRECORDED = ";".join((_ADD, _SEE_AGENTS, _ADD_SENT))


def add(cursor: Any, statement: str, arrivals: Sequence[Arrivals], sent: Sequence[Sent]) -> None:
    """Add to the rollups by ADD_RECORDED or ADD_UNRECORDED, in one query of the caller's transaction.

    A minute, agent and transport may be there once only, and so may a sender.
    """
    if arrivals or sent:
        given = {"arrivals": _encode(arrivals), "sent": _encode(sent), "no_agents": list(NO_AGENTS)}
        cursor.execute(statement, given)


def _encode(rows: Sequence[msgspec.Struct]) -> str:
    return msgspec.json.encode(rows).decode()
