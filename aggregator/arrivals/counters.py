"""Counters for `/metrics`, made of the minute rollups: they never fall, also when old minutes are removed."""

from collections import defaultdict
from datetime import timedelta

from django.db import connection, transaction

from aggregator.arrivals.queries import Origin
from aggregator.arrivals.rollups import UNCOUNTED_SINCE

FOLD_AFTER = timedelta(minutes=30)
"""Age at which no transaction adds to a minute any more, if the follower is not behind."""

# The latest minute that nothing is added to any more. Minutes after it are added up whenever they are read.
FOLDED_THROUGH = f"least(now() - interval '{FOLD_AFTER}', {UNCOUNTED_SINCE} - interval '1 minute')"

# A row of arrival_minutes as (measure, n); the lags' buckets count from 1.
MEASURES = """
    CROSS JOIN LATERAL (
        VALUES ('accepted', accepted), ('duplicate', duplicates), ('conflict', conflicts),
            ('refused', refused)
        UNION ALL
        SELECT 'lag:' || bucket, n FROM unnest(lags) WITH ORDINALITY AS lag (n, bucket)
    ) AS part (measure, n)"""

FOLD = f"""
    INSERT INTO arrival_totals AS known (ecosystem, transport, measure, total, through)
    SELECT ecosystem, transport, measure, sum(n), {FOLDED_THROUGH}
    FROM arrival_minutes {MEASURES}
    WHERE minute > (SELECT coalesce(max(through), '-infinity') FROM arrival_totals)
        AND minute <= {FOLDED_THROUGH} AND n > 0
    GROUP BY ecosystem, transport, measure
    ON CONFLICT (ecosystem, transport, measure) DO UPDATE
        SET total = known.total + excluded.total, through = excluded.through"""

# One statement, so that it sees one moment: a fold by another process is in it whole or not at all.
READ = f"""
    SELECT ecosystem, transport, measure, sum(total) FROM (
        SELECT ecosystem, transport, measure, total FROM arrival_totals
        UNION ALL
        SELECT ecosystem, transport, measure, n FROM arrival_minutes {MEASURES}
        WHERE minute > (SELECT coalesce(max(through), '-infinity') FROM arrival_totals) AND n > 0
    ) AS parts
    GROUP BY ecosystem, transport, measure"""


def fold() -> None:
    """Move final minutes into the totals. Any number of processes may do so at any time."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE arrival_totals IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(FOLD)


def read() -> dict[Origin, dict[str, int]]:
    """Return, by ecosystem and transport, how many came by measure.

    Measures are accepted, duplicate, conflict, refused and lag:N. An entry without an ecosystem counts under
    an empty one.
    """
    found: dict[Origin, dict[str, int]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(READ)
        for ecosystem, transport, measure, total in cursor.fetchall():
            found[ecosystem, transport][measure] = int(total)
    return dict(found)
