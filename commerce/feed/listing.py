"""Which agents sent signals for which instruments, and where in the ledger: rolled up behind the writers.

`SELECT DISTINCT` over the ledger would read all of it. Rolling up the same stretch twice changes nothing, so
any number of processes may do it.
"""

from django.db import connection
from django.db.models import QuerySet

from commerce import entitlements
from commerce.entitlements import SIGN_OF_LIFE_SQL, Scope
from commerce.models import FeedSeries

BATCH = 20_000

ROLL_UP = f"""
    WITH fresh AS MATERIALIZED (
        SELECT ecosystem, instrument, agent_source, position, {SIGN_OF_LIFE_SQL} AS is_sign_of_life
        FROM trading_signals
        WHERE position > coalesce((SELECT position FROM feed_series_progress WHERE id = 1), 0)
        ORDER BY position LIMIT %s),
    rolled AS (
        INSERT INTO feed_series AS series
            (ecosystem, instrument, agent_source, first_position, last_position)
        SELECT ecosystem, instrument, agent_source, min(position), max(position)
        FROM fresh WHERE NOT is_sign_of_life
        GROUP BY ecosystem, instrument, agent_source
        ORDER BY ecosystem, instrument, agent_source
        ON CONFLICT (ecosystem, instrument, agent_source) DO UPDATE
            SET first_position = least(series.first_position, excluded.first_position),
                last_position = greatest(series.last_position, excluded.last_position)),
    moved AS (
        INSERT INTO feed_series_progress AS progress (id, position)
        SELECT 1, max(position) FROM fresh HAVING max(position) IS NOT NULL
        ON CONFLICT (id) DO UPDATE SET position = greatest(progress.position, excluded.position))
    SELECT max(position) FROM fresh"""


def roll_up(batches: int = 1) -> None:
    """Take in what the ledger has got since, up to `batches` times BATCH signals."""
    with connection.cursor() as cursor:
        for _ in range(batches):
            cursor.execute(ROLL_UP, [BATCH])
            if cursor.fetchone()[0] is None:
                return


def visible(scope: Scope) -> QuerySet[FeedSeries]:
    """Return the series of which `scope` may see signals.

    One whose only signals are older than the plan's history and newer than its frontier counts as visible.
    """
    window = scope.window()
    return FeedSeries.objects.filter(
        entitlements.scope_condition(scope),
        first_position__lte=window.frontier,
        last_position__gt=window.floor,
    )
