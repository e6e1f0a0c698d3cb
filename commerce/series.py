"""Which agents sent signals for which instruments, and where in the ledger: rolled up behind the writers.

`SELECT DISTINCT` over the ledger would read all of it. Rolling up the same stretch twice changes nothing, so
any number of processes may do it.
"""

from django.db import connection
from django.db.models import QuerySet

from commerce import entitlements
from commerce.entitlements import Scope
from commerce.models import FeedSeries

BATCH = 20_000

ROLL_UP = """
    INSERT INTO feed_series AS series (ecosystem, instrument, agent_source, first_position, last_position)
    SELECT ecosystem, instrument, agent_source, min(position), max(position)
    FROM (
        SELECT ecosystem, instrument, agent_source, position FROM trading_signals
        WHERE position > (SELECT coalesce(max(last_position), 0) FROM feed_series)
        ORDER BY position LIMIT %s) AS fresh
    GROUP BY ecosystem, instrument, agent_source
    ORDER BY ecosystem, instrument, agent_source
    ON CONFLICT (ecosystem, instrument, agent_source) DO UPDATE
        SET first_position = least(series.first_position, excluded.first_position),
            last_position = greatest(series.last_position, excluded.last_position)"""


def roll_up(batches: int = 1) -> None:
    """Take in what the ledger has got since, up to `batches` times BATCH signals."""
    with connection.cursor() as cursor:
        for _ in range(batches):
            cursor.execute(ROLL_UP, [BATCH])
            if cursor.rowcount == 0:
                return


def visible(scope: Scope) -> QuerySet[FeedSeries]:
    """Return the series of which `scope` may see signals.

    One whose only signals are older than the plan's history and newer than its frontier counts as visible.
    """
    window = scope.window()
    return FeedSeries.objects.filter(
        entitlements.covered(scope), first_position__lte=window.frontier, last_position__gt=window.floor
    )
