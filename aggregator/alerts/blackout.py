"""The alert that the database itself is down, which cannot be kept in the database.

Workers agree in Redis on who tells. Where that is down too each tells for itself: in that one case twice is
better than not at all.
"""

import logging
import time
from collections.abc import Sequence

import redis

from aggregator import heartbeats
from aggregator.alerts import sending, wording
from config.env import Environment

logger = logging.getLogger("signal_hub.alerts")

DOWN = "signal_hub:alerts:database_down"
TOLD = "signal_hub:alerts:database_told"
KEPT_S = 7 * 86_400
REPEAT_S = 3600
HOLD_S = 40.0
"""For how long it must be down before anybody is told."""


class Blackout:
    """One worker's view of the core database's absence."""

    def __init__(self, environment: Environment) -> None:
        self._redis = heartbeats.connect(environment.redis_url) if environment.redis_url else None
        self._since: float | None = None
        self._told_alone_at: float | None = None

    def goes_on(self, targets: Sequence[sending.Target]) -> None:
        """Say that the database is down; tell the operator when it is this worker's turn to."""
        now = time.monotonic()
        self._since = self._since if self._since is not None else now
        if now - self._since >= HOLD_S and self._may_tell(now):
            sending.broadcast(targets, wording.DATABASE_DOWN)

    def is_over(self, targets: Sequence[sending.Target]) -> None:
        """Say that the database answers; tell the operator where that is news."""
        self._since = None
        alone, self._told_alone_at = self._told_alone_at is not None, None
        if self._forget() or alone:
            sending.broadcast(targets, wording.DATABASE_BACK)

    def _may_tell(self, now: float) -> bool:
        if self._redis is not None:
            try:
                claimed = bool(self._redis.set(TOLD, "1", nx=True, ex=REPEAT_S))
                if claimed:
                    self._redis.set(DOWN, "1", ex=KEPT_S)
                return claimed
            except redis.RedisError:
                pass
        if self._told_alone_at is not None and now - self._told_alone_at < REPEAT_S:
            return False
        self._told_alone_at = now
        return True

    def _forget(self) -> bool:
        if self._redis is None:
            return False
        try:
            if not self._redis.delete(DOWN):
                return False
            self._redis.delete(TOLD)
        except redis.RedisError:
            return False
        return True
