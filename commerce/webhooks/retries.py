"""When a failed message is sent again, and how long its endpoint rests."""

import random
from datetime import timedelta

from commerce.webhooks.http_client import AttemptResult

# The schedule of Standard Webhooks: https://github.com/standard-webhooks/standard-webhooks (deliverability).
SCHEDULE = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
JITTER = 0.1
"""Each wait is up to this part longer, so that what failed together does not come back together."""
DISABLED_AFTER = timedelta(days=5)
GONE = 410
MIN_REST = timedelta(seconds=1)
MAX_REST = timedelta(minutes=5)


def wait_after(attempt_count: int, result: AttemptResult) -> timedelta | None:
    """Return how long a message waits after failed attempt number `attempt_count`; None after the last."""
    if attempt_count >= len(SCHEDULE) or result.status == GONE:
        return None
    wait = SCHEDULE[attempt_count] * (1 + random.uniform(0, JITTER))  # noqa: S311 - spreads load
    return max(wait, _asked(result))


def rest_after(failing_for: timedelta, result: AttemptResult) -> timedelta:
    """Return how long nothing is sent to an endpoint that has failed for so long.

    A tenth of that time, or what it asks for: `Retry-After` is about all its messages.
    """
    return max(min(max(failing_for / 10, MIN_REST), MAX_REST), _asked(result))


def _asked(result: AttemptResult) -> timedelta:
    return timedelta(seconds=result.retry_after_s or 0)
