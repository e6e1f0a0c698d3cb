"""How often each agent usually sends, learned from its arrivals."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from django.db import connection, transaction
from django.utils import timezone

from aggregator.arrivals.open_hours import OpenTime
from aggregator.arrivals.rollups import UNCOUNTED_SINCE
from aggregator.arrivals.silence import LOOKBACK
from ecosystems import ECOSYSTEMS

MAX_ACTIVE_MINUTES = 1000
"""How many of an agent's latest minutes with arrivals its cadence is learned from."""
MIN_GAPS = 20
PERCENTILE = 0.95
OVERLAP_MINUTES = 10
"""How long after it was read a minute may get its first arrival: longer than any transaction."""

# What is known of agents, and came since it was learned last. The first time, a month: seconds on a hub with
# hundreds of agents.
NEWS = """
    SELECT id, ecosystem, array_agg(minute) || coalesce(minutes, '{}') FROM (
        SELECT agents.id, agents.ecosystem, (extract(epoch FROM minute) / 60)::int AS minute,
            row_number() OVER (PARTITION BY agents.id ORDER BY minute DESC) AS recency
        FROM agents JOIN (
            SELECT DISTINCT ecosystem, agent_source, minute FROM arrival_minutes
            WHERE accepted > 0 AND minute > greatest(
                %s, (SELECT max(learned_at) FROM agent_cadences) - make_interval(mins => %s))
        ) AS active USING (ecosystem, agent_source)) AS latest
    LEFT JOIN agent_cadences ON agent_id = id
    WHERE recency <= %s AND ecosystem = ANY (%s) GROUP BY id, ecosystem, agent_id"""

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


def learn_cadences(now: datetime | None = None) -> int:
    """Learn the cadence of each agent that has sent something since; return how many of these have one."""
    now = now or timezone.now()
    oldest = now - LOOKBACK
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(NEWS, [oldest, OVERLAP_MINUTES, MAX_ACTIVE_MINUTES, list(ECOSYSTEMS)])
        news = cursor.fetchall()
        clocks = {name: OpenTime(name, oldest, now) for name in {row[1] for row in news}}
        learned = []
        for agent_id, ecosystem, known in news:
            minutes = sorted(set(known))[-MAX_ACTIVE_MINUTES:]
            # A cadence keeps minutes as their number since 1970.
            moments = [at for each in minutes if (at := datetime.fromtimestamp(each * 60, UTC)) > oldest]
            gap, gaps = usual_gap(clocks[ecosystem], moments)
            learned.append((agent_id, gap, gaps, f"{{{','.join(map(str, minutes))}}}"))
        if learned:
            cursor.execute(KEEP, list(map(list, zip(*learned, strict=True))))
    return sum(gap is not None for _, gap, *_ in learned)


def usual_gap(clock: OpenTime, minutes: Iterable[datetime]) -> tuple[timedelta | None, int]:
    """Return the PERCENTILE of the open time between minutes with arrivals, and how many gaps there were.

    None for fewer than MIN_GAPS. A percentile, because one outage must not make outages look usual.
    """
    marks = [clock.until(minute) for minute in minutes]
    gaps = sorted(after - before for before, after in pairwise(marks))
    if len(gaps) < MIN_GAPS:
        return None, len(gaps)
    return gaps[int(len(gaps) * PERCENTILE)], len(gaps)
