"""The rate limit for changes of keys and endpoints, over the API and on the account page together."""

from django.conf import settings

from aggregator.http import rate_limits

MAX_RATE = "60/minute"
"""Each change may resolve a host name or queue messages."""


def count_change(customer_id: int) -> None:
    """Count one change. Raises Problem 429."""
    rate_limits.rate_limiter(settings.ENVIRONMENT).hit(MAX_RATE, "changes", str(customer_id))
