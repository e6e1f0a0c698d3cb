"""For how long agents have been silent, for how long they may be, and what liveness follows from that.

Postgres judges each agent, so that what is read does not grow with the number of agents: a page that read a
million of them took a minute. Only time during which the market was open counts; `OpenTime` gives its marks.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import connection

from aggregator.arrivals.open_hours import OpenTime
from aggregator.arrivals.rollups import UNCOUNTED_SINCE
from aggregator.ledger.rollup_writer import OTHER
from ecosystems import ECOSYSTEMS

LOOKBACK = timedelta(days=30)
"""Cadences are learned from so much time; a silence is measured no further back either."""
SILENCE_FACTOR = 3
"""A silence is too long at so many times the learned cadence. Of an agent whose signals come at random, as a
strategy's do, one gap in 8,000 is as long: e ** (-3 * 3), with a 95th percentile of three times the mean."""
MIN_ALLOWANCE = timedelta(minutes=3)
"""Cadences are learned by the minute: no shorter silence is too long, unless it was set or announced."""
MAX_NEWCOMER_ALLOWANCE = timedelta(days=1)
"""Of open market: for how long an agent may be silent of which nothing else is known."""
MAX_SILENT = 100
"""How many silent agents have an alert each; one more is about all others."""


class Liveness(StrEnum):
    LIVE = "live"
    LATE = "late"
    SILENT = "silent"
    CLOSED = "closed market"
    NEVER = "no signals yet"


BY_URGENCY = (Liveness.SILENT, Liveness.LATE, Liveness.LIVE, Liveness.CLOSED, Liveness.NEVER)

NOW = f"SELECT least(coalesce(%s::timestamptz, now()), {UNCOUNTED_SINCE})"
# A silence ends where the follower of the ledger has come to: what it has yet to count is no silence.

HAVING_AGENTS = """
    SELECT name FROM unnest(%s::text[]) AS name
    WHERE EXISTS (SELECT FROM agents WHERE ecosystem = name AND signals > 0)"""

# `width_bucket` finds the last change of the market before an agent was seen. Those that are counted as OTHER
# have no cadence in common.
JUDGED = f"""
    SELECT agents.id, ecosystem, agent_source, last_seen, allowed, silent_for,
        silent_for > allowed AS too_long,
        %(is_closed)s OR %(open_for)s < least(allowed, %(max_grace)s::interval) AS excused,
        CASE WHEN %(at)s - last_seen <= allowed / 2 THEN '{Liveness.LIVE}'
            WHEN %(is_closed)s THEN '{Liveness.CLOSED}'
            WHEN silent_for > allowed THEN '{Liveness.SILENT}' ELSE '{Liveness.LATE}' END AS state
    FROM agents LEFT JOIN agent_cadences ON agent_id = agents.id
    CROSS JOIN LATERAL (
        SELECT coalesce(expected_cadence, CASE WHEN agent_source = '{OTHER}' THEN %(newcomer)s END,
            CASE WHEN gap IS NOT NULL THEN greatest(%(min)s, gap * {SILENCE_FACTOR}) END,
            heartbeat_interval * {SILENCE_FACTOR},
            least(longest_gap * {SILENCE_FACTOR}, %(newcomer)s)) AS allowed,
            width_bucket(last_seen, %(marks)s::timestamptz[]) AS mark) AS known
    CROSS JOIN LATERAL (
        SELECT %(open)s - CASE WHEN mark = 0 THEN interval '0' ELSE (%(passed)s::interval[])[mark]
            + CASE WHEN (%(is_open)s::boolean[])[mark] THEN last_seen - (%(marks)s::timestamptz[])[mark]
                ELSE interval '0' END END AS silent_for) AS measured
    WHERE ecosystem = %(ecosystem)s AND signals > 0"""

COUNTED = f"""
    SELECT ecosystem, state, count(*), count(*) FILTER (WHERE too_long), max(last_seen), bool_or(excused)
    FROM ({JUDGED}) AS judged GROUP BY ecosystem, state"""

# Those that are live keep their places by name: by last sight they would change them at every look.
MOST_URGENT = f"""
    SELECT ecosystem, agent_source, last_seen, silent_for, allowed, excused, state
    FROM ({JUDGED}) AS judged
    ORDER BY array_position(%(urgency)s::text[], state),
        CASE WHEN state <> '{Liveness.LIVE}' THEN last_seen END DESC NULLS FIRST, agent_source
    LIMIT %(limit)s"""

# Those with an open alert first, which would seem to be over if others took their places.
TOO_LONG = f"""
    SELECT ecosystem, agent_source, last_seen, silent_for, allowed, excused, state
    FROM ({JUDGED}) AS judged
    LEFT JOIN alerts ON rule = 'agent_silent' AND resolved_at IS NULL
        AND subject = ecosystem || '/' || coalesce(nullif(agent_source, ''), '(unnamed)')
    WHERE too_long ORDER BY alerts.id, judged.id LIMIT %(limit)s"""


@dataclass(frozen=True)
class Silence:
    """How long an agent has been silent, and how long it may be."""

    ecosystem: str
    agent_source: str
    last_seen: datetime
    silent_for: timedelta
    """While its market was open; at most LOOKBACK."""
    allowed: timedelta
    excused: bool
    """Whether the market explains it: it is closed, or has only just opened again."""
    state: Liveness


@dataclass
class AgentCounts:
    """How the agents of an ecosystem fare."""

    states: Counter[Liveness] = field(default_factory=Counter)
    too_long: int = 0
    """How many have been silent for longer than they may be."""
    last_seen: datetime | None = None
    excused: bool = False
    """Whether the market explains the silence of one at least."""

    @property
    def total(self) -> int:
        return self.states.total()

    @property
    def all_silent(self) -> bool:
        """Return whether there are agents, and each has been silent for too long."""
        return 0 < self.total == self.too_long


class Judge:
    """The agents at one moment, by the database's clock, which also set when they were seen."""

    def __init__(self, now: datetime | None = None, ecosystems: Sequence[str] = ECOSYSTEMS) -> None:
        with connection.cursor() as cursor:
            cursor.execute(NOW, [now])
            self.at: datetime = cursor.fetchone()[0]
            cursor.execute(HAVING_AGENTS, [list(ecosystems)])
            names = [name for (name,) in cursor.fetchall()]
        # Only where there are agents: a trading calendar takes seconds to load.
        self._parameters = {name: self._of_market(name) for name in names}

    def _of_market(self, ecosystem: str) -> dict[str, Any]:
        clock = OpenTime(ecosystem, self.at - LOOKBACK, self.at)
        return {
            "ecosystem": ecosystem,
            "at": self.at,
            "open": clock.until(self.at),
            "marks": clock.marks,
            "passed": clock.passed,
            "is_open": clock.is_open,
            "is_closed": not clock.is_open[-1],
            "open_for": self.at - clock.marks[-1],
            "max_grace": clock.max_grace,
            "min": MIN_ALLOWANCE,
            "newcomer": MAX_NEWCOMER_ALLOWANCE,
            "urgency": list(BY_URGENCY),
        }

    def counts(self) -> dict[str, AgentCounts]:
        """Return how the agents of each ecosystem that has any fare."""
        found: dict[str, AgentCounts] = {}
        for name, state, count, too_long, last_seen, excused in self._rows(COUNTED):
            one = found.setdefault(name, AgentCounts())
            one.states[Liveness(state)] = count
            one.too_long += too_long
            one.last_seen = max(filter(None, (one.last_seen, last_seen)))
            one.excused = one.excused or excused
        return found

    def most_urgent(self, limit: int) -> list[Silence]:
        """Return up to `limit` agents, the most urgent first."""
        found = [_silence(row) for row in self._rows(MOST_URGENT, limit)]
        found.sort(key=lambda each: timedelta() if each.state is Liveness.LIVE else self.at - each.last_seen)
        found.sort(key=lambda each: BY_URGENCY.index(each.state))
        return found[:limit]

    def too_long(self, limit: int = MAX_SILENT) -> list[Silence]:
        """Return agents that have been silent for longer than they may be, up to `limit` an ecosystem."""
        return [_silence(row) for row in self._rows(TOO_LONG, limit)]

    def _rows(self, query: str, limit: int = 0) -> list[tuple[Any, ...]]:
        """Return the rows of a query for each ecosystem that has agents, in one query."""
        given = {
            f"{name}_{key}": value
            for name, parameters in self._parameters.items()
            for key, value in (parameters | {"limit": limit}).items()
        }
        parts = [f"({query})".replace("%(", f"%({name}_") for name in self._parameters]
        if not parts:
            return []
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts), given)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found


def _silence(row: Sequence[Any]) -> Silence:
    ecosystem, agent, last_seen, silent_for, allowed, excused, state = row
    return Silence(ecosystem, agent, last_seen, silent_for, allowed, excused, Liveness(state))
