"""When a failed message is attempt again."""

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


def next_wait(attempts: int, answer: AttemptResult) -> timedelta | None:
    """Return how long to wait after attempt number `attempts` (from 1), or None when it was the last."""
    if attempts >= len(SCHEDULE):
        return None
    wait = SCHEDULE[attempts] * (1 + random.uniform(0, JITTER))  # noqa: S311 - spreads load
    asked = timedelta(seconds=answer.retry_after_s or 0)
    return max(wait, asked)
