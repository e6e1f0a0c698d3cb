"""Queries of the rollups for the dashboard.

What is past changes no more, so a process caches it, summed over agents. Measured with 200 agents that use
three transports each: without the cache a page reads 100,000 rows by hour and 36,000 by minute, which takes
200 ms; with it some thousands.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from aggregator.arrivals.rollups import UNCOUNTED_SINCE
from aggregator.ledger.rollup_writer import LAG_BOUNDS, NO_AGENTS

FINAL_AFTER = timedelta(minutes=5)
"""How long after its end something may be added to a minute or an hour: transactions are shorter."""
CACHE_TIMEOUT_S = 3600.0
"""After so long all is read again: a backup may have been restored."""

# Slot by slot, each by the index: grouped at once, Postgres expects many groups and sorts on disk.
SLOTS = f"""
    SELECT slot, slot + interval '1 {{period}}' < least(now(), {UNCOUNTED_SINCE}) - interval '{FINAL_AFTER}',
        summed.*
    FROM generate_series(date_trunc('{{period}}', %(after)s) + interval '1 {{period}}',
        %(now)s + interval '{FINAL_AFTER}', interval '1 {{period}}') AS slot
    CROSS JOIN LATERAL (
        SELECT ecosystem, transport, sum(accepted)::bigint, {{sums}}
        FROM arrival_{{period}}s WHERE {{period}} = slot GROUP BY ecosystem, transport) AS summed"""

MINUTES = SLOTS.format(
    period="minute",
    sums=", ".join(f"coalesce(sum(lags[{n}]), 0)::bigint" for n in range(1, len(LAG_BOUNDS) + 2)),
)
HOURS = SLOTS.format(
    period="hour",
    sums=f"""sum(duplicates)::bigint, sum(conflicts + refused)::bigint,
            max(last_at) FILTER (WHERE agent_source <> ALL ('{{{",".join(NO_AGENTS)}}}'))""",
)

# By the index, an hour of an agent after the other.
AGENT_DAYS = """
    SELECT ecosystem, agent_source, agents.id, coalesce(expected_cadence, gap), expected_cadence IS NOT NULL,
        coalesce(day.accepted, 0), coalesce(day.duplicates, 0), coalesce(day.transports, '{}')
    FROM unnest(%(ecosystems)s::text[], %(agents)s::text[]) AS asked (ecosystem, agent_source)
    JOIN agents USING (ecosystem, agent_source)
    LEFT JOIN agent_cadences ON agent_id = agents.id
    CROSS JOIN LATERAL (
        SELECT sum(accepted)::bigint AS accepted, sum(duplicates)::bigint AS duplicates,
            array_agg(DISTINCT transport ORDER BY transport) AS transports
        FROM generate_series(date_trunc('hour', %(after)s), %(now)s, interval '1 hour') AS slot
        JOIN arrival_hours AS rollup ON rollup.hour = slot AND rollup.ecosystem = agents.ecosystem
            AND rollup.agent_source = agents.agent_source
        WHERE slot > %(after)s) AS day"""

AgentKey = tuple[str, str]
"""An ecosystem and an agent's name."""
Origin = tuple[str, str]
"""An ecosystem and a transport."""
RollupRow = tuple[Any, ...]
"""An ecosystem, a transport, and what a query sums up."""


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

    since: datetime
    accepted: int
    duplicates: int
    refused: int
    """Conflicts too: what became a dead letter."""
    last_at: datetime | None


@dataclass(frozen=True)
class AgentDay:
    """What one agent sent within the last day, and how often it is expected to."""

    id: int = 0
    cadence: timedelta | None = None
    """The longest usual time between two signals; None while it is not known."""
    set_by_hand: bool = False
    accepted: int = 0
    duplicates: int = 0
    transports: Sequence[str] = ()


@dataclass(frozen=True)
class _Known:
    """The slots after `start`, of which those up to `through` change no more."""

    start: datetime
    through: datetime
    slots: dict[datetime, list[RollupRow]]
    read_at: float


class PeriodCache:
    """Rows by minute or by hour. For any number of threads: what one has read replaces what was cached."""

    def __init__(self, query: str) -> None:
        self._query = query
        self._known: _Known | None = None

    def after(self, start: datetime, now: datetime) -> dict[datetime, list[RollupRow]]:
        """Return the rows of each slot that began after `start`, until `now`, in one query."""
        known = self._known
        if known is None or start < known.start or time.monotonic() - known.read_at > CACHE_TIMEOUT_S:
            known = _Known(start, start, {}, time.monotonic())
        slots, through = self._read(max(start, known.through), now)
        slots |= {slot: rows for slot, rows in known.slots.items() if start < slot <= known.through}
        self._known = _Known(start, max(through, known.through), slots, known.read_at)
        return slots

    def _read(self, after: datetime, now: datetime) -> tuple[dict[datetime, list[RollupRow]], datetime]:
        """Return the slots that began after `after`, and the last that changes no more."""
        slots: dict[datetime, list[RollupRow]] = {}
        through = after
        with connection.cursor() as cursor:
            cursor.execute(self._query, {"after": after, "now": now})
            for slot, final, *row in cursor.fetchall():
                slots.setdefault(slot, []).append(tuple(row))
                if final:
                    through = max(through, slot)
        return slots, through


class RollupCache:
    """The rollups as a process has read them; a new one is empty."""

    def __init__(self) -> None:
        self._minutes, self._hours = PeriodCache(MINUTES), PeriodCache(HOURS)

    def recent(self, now: datetime) -> dict[Origin, Recent]:
        """Return the last hour's arrivals, in one query."""
        found: dict[Origin, Recent] = {}
        current = now.replace(second=0, microsecond=0)
        before, share = current - timedelta(minutes=1), 1 - now.second / 60
        for minute, place, (accepted, *lags) in _rows(self._minutes.after(now - timedelta(hours=1), now)):
            recent = found.setdefault(place, Recent())
            recent.hour += accepted
            recent.lags = [sum(bucket) for bucket in zip(recent.lags, lags, strict=True)]
            if minute == current:
                recent.minute += accepted
            elif minute == before:
                recent.minute += round(accepted * share)
        return found

    def by_hour(self, since: datetime, now: datetime) -> dict[Origin, list[Hour]]:
        """Return the arrivals of each hour that began after `since`, in one query."""
        found: dict[Origin, list[Hour]] = {}
        for hour, place, sums in _rows(self._hours.after(since, now)):
            found.setdefault(place, []).append(Hour(hour, *sums))
        return found


def _rows(slots: dict[datetime, list[RollupRow]]) -> Iterator[tuple[datetime, Origin, RollupRow]]:
    for slot, rows in slots.items():
        for ecosystem, transport, *sums in rows:
            yield slot, (ecosystem, transport), tuple(sums)


def agent_days(agents: Sequence[AgentKey], now: datetime) -> dict[AgentKey, AgentDay]:
    """Return each known agent's last 24 hours, to the hour, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            AGENT_DAYS,
            {
                "ecosystems": [ecosystem for ecosystem, _ in agents],
                "agents": [agent for _, agent in agents],
                "after": now - timedelta(days=1),
                "now": now,
            },
        )
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
