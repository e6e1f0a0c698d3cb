"""The cache's Redis clients."""

from functools import cache

import redis
from django_redis import pool  # type: ignore[import-untyped]

from ecosystems.redis_client import connect_redis

CACHE_TIMEOUT_S = 2


class ConnectionFactory(pool.ConnectionFactory):  # type: ignore[misc]
    """Makes clients as everything else does, of Sentinels too: one a process."""

    def connect(self, url: str) -> redis.Redis:
        return _client(url)


@cache
def _client(url: str) -> redis.Redis:
    return connect_redis(url, socket_timeout=CACHE_TIMEOUT_S, socket_connect_timeout=CACHE_TIMEOUT_S)
