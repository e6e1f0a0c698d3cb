"""When bodies without a time of their own came in: one that comes again within a minute is the same."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from aggregator.models import HookBody, Source

REPEAT_S = 60
"""Within so many seconds of the first, the same body is a repetition."""

# The row's lock makes two of the same body, in whatever processes, agree on one time.
FIRST_ARRIVALS = """
    INSERT INTO hook_bodies AS known (source_id, digest, arrived_at)
    SELECT %(source)s, digest, clock_timestamp()
    FROM (SELECT DISTINCT unnest(%(digests)s::bytea[]) AS digest ORDER BY 1) AS bodies
    ON CONFLICT (source_id, digest) DO UPDATE SET arrived_at = CASE
        WHEN known.arrived_at > excluded.arrived_at - make_interval(secs => %(repeat)s) THEN known.arrived_at
        ELSE excluded.arrived_at END
    RETURNING digest, arrived_at"""


def first_arrivals(source: Source, digests: Sequence[bytes]) -> dict[bytes, datetime]:
    """Return when each body came in first, of its repetitions within a minute; by the body's digest."""
    parameters: dict[str, Any] = {"source": source.pk, "digests": list(digests), "repeat": REPEAT_S}
    with connection.cursor() as cursor:
        cursor.execute(FIRST_ARRIVALS, parameters)
        return {bytes(digest): arrived_at for digest, arrived_at in cursor.fetchall()}


def forget_arrivals() -> int:
    """Delete what is too old to matter; return how many rows went."""
    old = timezone.now() - 10 * timedelta(seconds=REPEAT_S)
    return HookBody.objects.filter(arrived_at__lt=old).delete()[0]
