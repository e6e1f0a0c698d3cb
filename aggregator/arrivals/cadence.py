"""How often each agent usually sends, and for how long it may be silent before an alert."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from django.db import connection, transaction
from django.utils import timezone

from aggregator.arrivals.open_hours import OpenTime
from aggregator.arrivals.rollups import UNCOUNTED_SINCE
from ecosystems import ECOSYSTEMS

LOOKBACK = timedelta(days=30)
"""Cadences are learned from so much time; a silence is measured no further back either."""
MAX_ACTIVE_MINUTES = 1000
"""How many of an agent's latest minutes with arrivals its cadence is learned from."""
MIN_GAPS = 20
PERCENTILE = 0.95
SILENCE_FACTOR = 3
"""A silence is too long at so many times the learned cadence. Of an agent whose signals come at random, as a
strategy's do, one gap in 8,000 is as long: e ** (-3 * 3), with a 95th percentile of three times the mean."""
MIN_ALLOWANCE = timedelta(minutes=3)
"""Rollups are by the minute: of an agent whose cadence was learned no shorter silence is too long."""

OVERLAP_MINUTES = 10
"""How long after it was read a minute may get its first arrival: longer than any transaction."""

# What came since it was learned last. The first time, a month: seconds on a hub with hundreds of agents.
NEWS = """
    SELECT id, ecosystem, array_agg(minute ORDER BY minute DESC) FROM (
        SELECT agents.id, agents.ecosystem, (extract(epoch FROM minute) / 60)::int AS minute,
            row_number() OVER (PARTITION BY agents.id ORDER BY minute DESC) AS recency
        FROM agents JOIN (
            SELECT DISTINCT ecosystem, agent_source, minute FROM arrival_minutes
            WHERE accepted > 0 AND minute > greatest(
                %s, (SELECT max(learned_at) FROM agent_cadences) - make_interval(mins => %s))
        ) AS active USING (ecosystem, agent_source)) AS latest
    WHERE recency <= %s AND ecosystem = ANY (%s) GROUP BY id, ecosystem"""

KNOWN = "SELECT agent_id, minutes FROM agent_cadences WHERE agent_id = ANY (%s)"

# Minutes that the follower of the ledger has yet to count are read the next time.
KEEP = f"""
    INSERT INTO agent_cadences (agent_id, gap, gaps, minutes, learned_at)
    SELECT agent_id, gap, gaps, minutes::int[], least(now(), {UNCOUNTED_SINCE})
    FROM unnest(%s::bigint[], %s::interval[], %s::int[], %s::text[])
        AS learned (agent_id, gap, gaps, minutes)
    JOIN agents ON agents.id = agent_id
    ORDER BY agent_id
    ON CONFLICT (agent_id) DO UPDATE SET gap = excluded.gap, gaps = excluded.gaps,
        minutes = excluded.minutes, learned_at = excluded.learned_at"""

# A silence ends where the follower of the ledger has come to: what it has yet to count is no silence.
AGENTS = f"""
    SELECT ecosystem, agent_source, last_seen, expected_cadence, gap,
        least(coalesce(%s::timestamptz, now()), {UNCOUNTED_SINCE})
    FROM agents LEFT JOIN agent_cadences ON agent_id = agents.id
    WHERE signals > 0 AND ecosystem = ANY (%s)
    ORDER BY ecosystem, agent_source"""


@dataclass(frozen=True)
class Silence:
    """How long an agent has been silent, and how long it may be."""

    ecosystem: str
    agent_source: str
    last_seen: datetime
    silent_for: timedelta
    """While its market was open; at most LOOKBACK."""
    allowed: timedelta | None
    """None while too little is known of the agent."""
    excused: bool = False
    """Whether the market explains it: it is closed, or has only just opened again."""

    @property
    def too_long(self) -> bool:
        return self.allowed is not None and self.silent_for > self.allowed


def allowance(expected: timedelta | None, learned: timedelta | None) -> timedelta | None:
    """Return how long an agent may be silent: what was set by hand, else from what was learned, else None."""
    if expected is not None:
        return expected
    return max(MIN_ALLOWANCE, learned * SILENCE_FACTOR) if learned is not None else None


def silences(now: datetime | None = None, ecosystems: Sequence[str] = ECOSYSTEMS) -> list[Silence]:
    """Return the silence of every agent of the ecosystems, in one query.

    By the database's clock, which also set when they were seen: this machine's may be wrong.
    """
    with connection.cursor() as cursor:
        cursor.execute(AGENTS, [now, list(ecosystems)])
        rows = cursor.fetchall()
    # Only where there are agents: a trading calendar takes seconds to load.
    clocks = {name: OpenTime(name, at - LOOKBACK, at) for name, at in {(row[0], row[-1]) for row in rows}}
    found = []
    for ecosystem, agent, seen, expected, learned, at in rows:
        clock, allowed = clocks[ecosystem], allowance(expected, learned)
        excused = allowed is not None and clock.is_closed_or_just_opened(allowed)
        found.append(Silence(ecosystem, agent, seen, clock.between(seen, at), allowed, excused))
    return found


def learn_cadences(now: datetime | None = None) -> int:
    """Learn the cadence of each agent that has sent something since; return how many of these have one."""
    now = now or timezone.now()
    oldest = now - LOOKBACK
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(NEWS, [oldest, OVERLAP_MINUTES, MAX_ACTIVE_MINUTES, list(ECOSYSTEMS)])
        news = cursor.fetchall()
        cursor.execute(KNOWN, [[agent_id for agent_id, *_ in news]])
        known: dict[int, list[int]] = dict(cursor.fetchall())
        clocks = {name: OpenTime(name, oldest, now) for name in {row[1] for row in news}}
        learned = []
        for agent_id, ecosystem, latest in news:
            minutes = sorted({*latest, *known.get(agent_id, ())})[-MAX_ACTIVE_MINUTES:]
            moments = [moment for minute in minutes if (moment := _moment(minute)) > oldest]
            gap, gaps = usual_gap(clocks[ecosystem], moments)
            learned.append((agent_id, gap, gaps, f"{{{','.join(map(str, minutes))}}}"))
        if learned:
            cursor.execute(KEEP, list(map(list, zip(*learned, strict=True))))
    return sum(gap is not None for _, gap, *_ in learned)


def _moment(minute: int) -> datetime:
    """Return the start of a minute that is counted from 1970, as a cadence keeps them."""
    return datetime.fromtimestamp(minute * 60, UTC)


def usual_gap(clock: OpenTime, minutes: Iterable[datetime]) -> tuple[timedelta | None, int]:
    """Return the PERCENTILE of the open time between minutes with arrivals, and how many gaps there were.

    None for fewer than MIN_GAPS. A percentile, because one outage must not make outages look usual.
    """
    marks = [clock.until(minute) for minute in minutes]
    gaps = sorted(after - before for before, after in pairwise(marks))
    if len(gaps) < MIN_GAPS:
        return None, len(gaps)
    return gaps[int(len(gaps) * PERCENTILE)], len(gaps)


def is_silent(agents: Sequence[Silence]) -> bool:
    """Return whether these agents, all of one ecosystem, leave it silent.

    They do when every agent with a known cadence is late, unless another has sent something since.
    """
    known = [agent for agent in agents if agent.allowed is not None]
    if not known or not all(agent.too_long for agent in known):
        return False
    newest = max(agent.last_seen for agent in known)
    return all(agent.last_seen <= newest for agent in agents)
