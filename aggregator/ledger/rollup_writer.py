"""Adding to the rollups: `arrival_hours`, `arrival_minutes` and `agents`.

Two add to them: the follower of the ledger (`aggregator.arrivals.rollups`) what was recorded, and the ledger
what was not. Both go through the tables, and through the rows of each, in the same order, so that one may
wait for the other but never both.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

LAG_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86_400)
"""Upper bounds, in seconds, of the buckets in `arrival_minutes.lags`; one more is for what is later still."""


class Arrivals(msgspec.Struct, omit_defaults=True):
    """What one agent sent over one transport in one minute."""

    ecosystem: str
    agent_source: str
    transport: str
    minute: str | None = None
    """None for the current one."""
    seen_at: str | None = None
    """When the agent was last heard of; None for now."""
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    refused: int = 0
    lags: list[int] = msgspec.field(default_factory=list)


_ARRIVALS = """(
        SELECT coalesce(minute, date_trunc('minute', now())) AS minute, ecosystem, agent_source, transport,
            coalesce(seen_at, now()) AS seen_at, coalesce(accepted, 0) AS accepted,
            coalesce(duplicates, 0) AS duplicates, coalesce(conflicts, 0) AS conflicts,
            coalesce(refused, 0) AS refused, coalesce(lags, '{}') AS lags
        FROM json_to_recordset(%(arrivals)s::json) AS each (minute timestamptz, ecosystem text,
            agent_source text, transport text, seen_at timestamptz, accepted bigint, duplicates bigint,
            conflicts bigint, refused bigint, lags bigint[])) AS arrivals"""

ADD = f"""
    INSERT INTO arrival_hours AS rollup (hour, ecosystem, agent_source, transport, accepted, duplicates,
        conflicts, refused, last_at)
    SELECT date_trunc('hour', minute) AS hour, ecosystem, agent_source, transport, sum(accepted),
        sum(duplicates), sum(conflicts), sum(refused), max(seen_at)
    FROM {_ARRIVALS}
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (hour, ecosystem, agent_source, transport) DO UPDATE SET
        accepted = rollup.accepted + excluded.accepted,
        duplicates = rollup.duplicates + excluded.duplicates,
        conflicts = rollup.conflicts + excluded.conflicts, refused = rollup.refused + excluded.refused,
        last_at = greatest(rollup.last_at, excluded.last_at);

    INSERT INTO arrival_minutes AS rollup (minute, ecosystem, agent_source, transport, accepted, duplicates,
        conflicts, refused, lags)
    SELECT minute, ecosystem, agent_source, transport, accepted, duplicates, conflicts, refused, lags
    FROM {_ARRIVALS}
    ORDER BY 1, 2, 3, 4
    ON CONFLICT (minute, ecosystem, agent_source, transport) DO UPDATE SET
        accepted = rollup.accepted + excluded.accepted,
        duplicates = rollup.duplicates + excluded.duplicates,
        conflicts = rollup.conflicts + excluded.conflicts, refused = rollup.refused + excluded.refused,
        lags = ARRAY(
            SELECT coalesce(before, 0) + coalesce(more, 0)
            FROM unnest(rollup.lags, excluded.lags) WITH ORDINALITY AS each (before, more, bucket)
            ORDER BY bucket);

    INSERT INTO agents (ecosystem, agent_source, first_seen, last_seen, last_transport, signals)
    SELECT ecosystem, agent_source, min(seen_at), max(seen_at),
        (array_agg(transport ORDER BY seen_at DESC))[1], sum(accepted)
    FROM {_ARRIVALS}
    WHERE ecosystem <> ''
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (ecosystem, agent_source) DO UPDATE SET signals = agents.signals + excluded.signals,
        last_seen = greatest(agents.last_seen, excluded.last_seen),
        last_transport = CASE WHEN excluded.last_seen < agents.last_seen THEN agents.last_transport
            ELSE excluded.last_transport END"""


def add(cursor: Any, arrivals: Sequence[Arrivals]) -> None:
    """Add to the rollups, in one query of the caller's transaction.

    A minute, agent and transport may be there once only.
    """
    if arrivals:
        cursor.execute(ADD, {"arrivals": msgspec.json.encode(arrivals).decode()})
