"""The check that instruments with calls have prices."""

from django.db import connection

from aggregator.health.checks import Degraded, Status
from aggregator.health.database_checks import DatabaseDependentCheck, database_required

# A minute's candle is recorded some seconds after its end; an outage of a feed may pass in between.
WITHOUT_PRICES = """
    SELECT recording.ecosystem, recording.instrument, recording.error, recording.failing_since IS NOT NULL
    FROM price_recordings AS recording
    WHERE (recording.failing_since < now() - interval '2 minutes' OR recording.error <> '')
        AND (recording.is_pinned OR EXISTS (
            SELECT FROM outcomes WHERE outcomes.ecosystem = recording.ecosystem
                AND outcomes.instrument = recording.instrument AND state IN ('waiting', 'open')))
    ORDER BY recording.failing_since NULLS LAST LIMIT 20"""

UNPRICED = """
    SELECT ecosystem, instrument, count(*) FROM outcomes
    WHERE state = 'waiting' AND series_id IS NULL AND NOT simulated AND t0 < now() - interval '30 minutes'
    GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 20"""


class PricesCheck(DatabaseDependentCheck):
    """Every instrument with calls that are waiting or open has prices; only degrades."""

    max_status = Status.DEGRADED
    in_background = True
    fresh_s = 15.0

    def __init__(self) -> None:
        super().__init__("prices")

    def run(self) -> tuple[str, str] | None:
        with database_required(), connection.cursor() as cursor:
            cursor.execute(WITHOUT_PRICES)
            failing = [f"{name} {what}: {error}" for name, what, error, _ in cursor.fetchall()]
            cursor.execute(UNPRICED)
            waiting = [
                f"{name} {what}: {count} calls wait for prices" for name, what, count in cursor.fetchall()
            ]
        if failing or waiting:
            raise Degraded("instruments without prices", "; ".join(failing + waiting))
        return None
