"""Counters made of the minute rollups: they never fall, also when old minutes are removed."""

from collections import defaultdict
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

FOLD_AFTER = timedelta(minutes=30)
"""Age at which no transaction adds to a minute any more. Rows from then on are added up at every look."""

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
    SELECT ecosystem, transport, measure, sum(n), %(through)s
    FROM arrival_minutes {MEASURES}
    WHERE minute > (SELECT coalesce(max(through), '-infinity') FROM arrival_totals)
        AND minute <= %(through)s AND n > 0
    GROUP BY ecosystem, transport, measure
    ON CONFLICT (ecosystem, transport, measure) DO UPDATE
        SET total = known.total + excluded.total, through = excluded.through"""

# One statement, so that it sees one moment: a fold by another process is in it whole or not at all.
LOOK = f"""
    SELECT ecosystem, transport, measure, sum(total) FROM (
        SELECT ecosystem, transport, measure, total FROM arrival_totals
        UNION ALL
        SELECT ecosystem, transport, measure, n FROM arrival_minutes {MEASURES}
        WHERE minute > (SELECT coalesce(max(through), '-infinity') FROM arrival_totals) AND n > 0
    ) AS parts
    GROUP BY ecosystem, transport, measure"""

Origin = tuple[str, str]
"""Ecosystem and transport. The ecosystem is empty where an entry did not tell."""


def fold() -> None:
    """Add settled minutes up. As often as one likes, from as many processes as one likes."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE arrival_totals IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(FOLD, {"through": timezone.now() - FOLD_AFTER})


def read() -> dict[Origin, dict[str, int]]:
    """Return, by source, how many came by measure: accepted, duplicate, conflict, refused, lag:N."""
    found: dict[Origin, dict[str, int]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(LOOK)
        for ecosystem, transport, measure, total in cursor.fetchall():
            found[ecosystem, transport][measure] = int(total)
    return dict(found)
