"""Rate limits of addresses, senders and customers."""

import logging
import time
from functools import lru_cache
from typing import Any

import limits
from django.utils.asyncio import async_unsafe
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from aggregator.http.problems import Problem
from ecosystems.env import Environment
from ecosystems.redis_client import connect_redis

logger = logging.getLogger("signal_hub.api")


class RateLimiter:
    """Counts in Redis for all processes together, or in this process if Redis is away or not configured."""

    def __init__(self, redis_url: str | None) -> None:
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = self._local
        if redis_url:
            client: Any = connect_redis(redis_url, socket_timeout=1, socket_connect_timeout=1)
            storage = storage_from_string(
                "redis://",
                connection_pool=client.connection_pool,
                wrap_exceptions=True,
                key_prefix="signal_hub:rate",
            )
            self._shared = SlidingWindowCounterRateLimiter(storage)
        self._shared_again_at = 0.0

    @async_unsafe
    def hit(self, rate: str, action: str, subject: str) -> None:
        """Count an action of `subject`; raise Problem 429 if that is more than `rate`, as `600/minute`."""
        item = limits.parse(rate)
        rate_limiter = self._local if time.monotonic() < self._shared_again_at else self._shared
        try:
            allowed = rate_limiter.hit(item, action, subject)
        except StorageError as error:
            logger.warning("counting rate limits in this process only: %s", type(error).__name__)
            self._shared_again_at = time.monotonic() + 10
            rate_limiter = self._local
            allowed = rate_limiter.hit(item, action, subject)
        if not allowed:
            wait = max(
                1, round(rate_limiter.get_window_stats(item, action, subject).reset_time - time.time())
            )
            raise Problem(429, "rate_limited", f"The limit is {rate}.", headers={"Retry-After": str(wait)})


@lru_cache(maxsize=4)
def rate_limiter(environment: Environment) -> RateLimiter:
    """Return the RateLimiter of an environment, one for each."""
    return RateLimiter(environment.redis_url)
