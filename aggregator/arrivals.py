"""Rollups of what came in: written with each batch, read by the dashboard, the alerts and the metrics.

Their size depends on how many agents there are and for how long, never on how many signals came.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from aggregator.aliases import has_certain_name
from aggregator.verdicts import Fate, Verdict
from ecosystems.signal import Signal

LAG_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86_400)
"""Upper bounds, in seconds, of the buckets in `arrival_minutes.lags`; one more is for what is later still."""

MINUTES = """
    WITH batch AS MATERIALIZED (
        SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
            %s::text[]) AS batch (ecosystem, agent_source, accepted, duplicates, conflicts, refused, lags)
        ORDER BY ecosystem, agent_source),
    hours AS (
        INSERT INTO arrival_hours AS rollup (hour, ecosystem, agent_source, transport, accepted, duplicates,
            conflicts, refused, last_at)
        SELECT date_trunc('hour', now()), ecosystem, agent_source, %s, accepted, duplicates, conflicts,
            refused, now()
        FROM batch
        ON CONFLICT (hour, ecosystem, agent_source, transport) DO UPDATE SET
            accepted = rollup.accepted + excluded.accepted,
            duplicates = rollup.duplicates + excluded.duplicates,
            conflicts = rollup.conflicts + excluded.conflicts, refused = rollup.refused + excluded.refused,
            last_at = excluded.last_at)
    INSERT INTO arrival_minutes AS rollup
        (minute, ecosystem, agent_source, transport, accepted, duplicates, conflicts, refused, lags)
    SELECT date_trunc('minute', now()), ecosystem, agent_source, %s, accepted, duplicates, conflicts, refused,
        lags::bigint[]
    FROM batch
    ON CONFLICT (minute, ecosystem, agent_source, transport) DO UPDATE SET
        accepted = rollup.accepted + excluded.accepted, duplicates = rollup.duplicates + excluded.duplicates,
        conflicts = rollup.conflicts + excluded.conflicts, refused = rollup.refused + excluded.refused,
        lags = ARRAY(
            SELECT coalesce(before, 0) + coalesce(more, 0)
            FROM unnest(rollup.lags, excluded.lags) WITH ORDINALITY AS each (before, more, bucket)
            ORDER BY bucket)"""

AGENTS = """
    WITH nameless AS (
        INSERT INTO symbol_aliases AS known (ecosystem, symbol, instrument, first_seen, last_seen, signals)
        SELECT ecosystem, symbol, '', now(), now(), signals
        FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS seen (ecosystem, symbol, signals)
        ORDER BY ecosystem, symbol
        ON CONFLICT (ecosystem, symbol) DO UPDATE SET last_seen = excluded.last_seen,
            first_seen = coalesce(known.first_seen, excluded.first_seen),
            signals = known.signals + excluded.signals)
    INSERT INTO agents (ecosystem, agent_source, first_seen, last_seen, last_transport, signals)
    SELECT ecosystem, agent_source, now(), now(), %s, accepted
    FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS batch (ecosystem, agent_source, accepted)
    WHERE ecosystem <> ''
    ORDER BY ecosystem, agent_source
    ON CONFLICT (ecosystem, agent_source) DO UPDATE SET last_seen = excluded.last_seen,
        last_transport = excluded.last_transport, signals = agents.signals + excluded.signals"""

COUNTED = (Fate.ACCEPTED, Fate.DUPLICATE, Fate.CONFLICT, Fate.REFUSED)

Agent = tuple[str, str]
"""An agent's ecosystem and name."""


def roll_up(cursor: Any, verdicts: Iterable[Verdict], transport: str) -> None:
    """Count a batch by agent, in two queries of the caller's transaction, rows sorted by key."""
    now = datetime.now(UTC)
    counts: Counter[tuple[str, str, Fate]] = Counter()
    symbols: Counter[tuple[str, str]] = Counter()
    lags: dict[Agent, list[int]] = {}
    for verdict in verdicts:
        subject = verdict.signal or verdict.refusal
        if subject is None or not verdict.settled:
            continue
        agent = (subject.ecosystem, subject.agent_source)
        counts[*agent, verdict.fate] += 1
        if verdict.fate is Fate.ACCEPTED and isinstance(subject, Signal):
            symbols[subject.ecosystem, subject.symbol] += 1
            late = (now - subject.timestamp).total_seconds()
            histogram = lags.setdefault(agent, [0] * (len(LAG_BOUNDS) + 1))
            histogram[bisect_left(LAG_BOUNDS, late)] += 1
    agents = sorted({key[:2] for key in counts})
    if not agents:
        return
    columns: list[Sequence[Any]] = [
        [ecosystem for ecosystem, _ in agents],
        [agent for _, agent in agents],
        *([counts[(*agent, fate)] for agent in agents] for fate in COUNTED),
    ]
    histograms = ["{" + ",".join(map(str, lags.get(agent, ()))) + "}" for agent in agents]
    nameless = [(*name, count) for name, count in symbols.items() if not has_certain_name(*name)]
    cursor.execute(MINUTES, [*columns, histograms, transport, transport])
    cursor.execute(AGENTS, [*([row[n] for row in nameless] for n in range(3)), transport, *columns[:3]])


@dataclass
class Recent:
    """What one ecosystem got over one transport within the last hour."""

    minute: int = 0
    """In the last sixty seconds, taking the minute before the current one to have been even."""
    hour: int = 0
    lags: list[int] = field(default_factory=lambda: [0] * (len(LAG_BOUNDS) + 1))


@dataclass(frozen=True)
class Hour:
    """What one ecosystem got over one transport in one hour; `last_at` is when it last got anything."""

    hour: datetime | None
    """None for all the hours before the ones that are told one by one."""
    since: datetime
    """When the hour began, or the first of those."""
    accepted: int
    duplicates: int
    refused: int
    """Conflicts too: what became a dead letter."""
    last_at: datetime


@dataclass(frozen=True)
class AgentDay:
    """What one agent sent within the last day."""

    accepted: int
    duplicates: int
    refused: int
    transports: list[str]


RECENT = f"""
    SELECT ecosystem, transport, coalesce(sum(accepted), 0)::bigint,
        coalesce(sum(accepted) FILTER (WHERE minute = %s), 0)::bigint,
        coalesce(sum(accepted) FILTER (WHERE minute = %s), 0)::bigint,
        {", ".join(f"coalesce(sum(lags[{n}]), 0)::bigint" for n in range(1, len(LAG_BOUNDS) + 2))}
    FROM arrival_minutes WHERE minute > %s GROUP BY ecosystem, transport"""

HOURS = """
    SELECT ecosystem, transport, CASE WHEN hour > %s THEN hour END AS slot, min(hour), sum(accepted)::bigint,
        sum(duplicates)::bigint, sum(conflicts + refused)::bigint, max(last_at)
    FROM arrival_hours WHERE hour >= %s GROUP BY ecosystem, transport, slot"""

AGENT_DAYS = """
    SELECT ecosystem, agent_source, sum(accepted)::bigint, sum(duplicates)::bigint,
        sum(conflicts + refused)::bigint, array_agg(DISTINCT transport ORDER BY transport)
    FROM arrival_hours WHERE hour > %s GROUP BY ecosystem, agent_source"""

Place = tuple[str, str]
"""An ecosystem and a transport."""


def recent(now: datetime) -> dict[Place, Recent]:
    """Return the last hour's arrivals, in one query."""
    found: dict[Place, Recent] = {}
    with connection.cursor() as cursor:
        minute = now.replace(second=0, microsecond=0)
        cursor.execute(RECENT, [minute, minute - timedelta(minutes=1), now - timedelta(hours=1)])
        for ecosystem, transport, hour, this_minute, minute_before, *lags in cursor.fetchall():
            share = 1 - now.second / 60
            found[ecosystem, transport] = Recent(this_minute + round(minute_before * share), hour, lags)
    return found


def by_hour(since: datetime, one_by_one: datetime) -> dict[Place, list[Hour]]:
    """Return the arrivals since `since`, in one query; the hours before `one_by_one` as one."""
    found: dict[Place, list[Hour]] = {}
    with connection.cursor() as cursor:
        cursor.execute(HOURS, [one_by_one, since])
        for ecosystem, transport, *hour in cursor.fetchall():
            found.setdefault((ecosystem, transport), []).append(Hour(*hour))
    return found


def agent_days(now: datetime) -> dict[Agent, AgentDay]:
    """Return what each agent sent within the last 24 hours, to the hour, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(AGENT_DAYS, [now - timedelta(days=1)])
        return {(ecosystem, agent): AgentDay(*day) for ecosystem, agent, *day in cursor.fetchall()}


def percentile(lags: Sequence[int], share: float) -> float | None:
    """Return the lag in seconds that `share` of the counted signals did not exceed; None if there are none.

    Read off within its bucket as if that were evenly filled; infinity for the bucket without an upper bound.
    """
    wanted = share * sum(lags)
    if not wanted:
        return None
    passed = 0
    for bucket, count in enumerate(lags):
        if count and passed + count >= wanted:
            if bucket == len(LAG_BOUNDS):
                return float("inf")
            lower = LAG_BOUNDS[bucket - 1] if bucket else 0.0
            return lower + (LAG_BOUNDS[bucket] - lower) * (wanted - passed) / count
        passed += count
    return float("inf")
