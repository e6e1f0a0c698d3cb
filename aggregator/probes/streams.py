"""Probes of Redis and of the streams in it."""

from dataclasses import replace
from functools import lru_cache

import redis

from aggregator import heartbeats, stream_state
from aggregator.doors import trimming
from aggregator.doors.streams import GROUP
from aggregator.probes.base import Degraded, Failed, Probe
from aggregator.probes.databases import CANNOT_TELL, DependentProbe
from config.env import Environment

LAG_LIMIT = 10_000
"""Unread entries from which on the hub is behind: seconds of work for one consumer."""
PENDING_LIMIT_S = 300.0
"""Age of an unacknowledged entry from which on the hub is behind."""
NOT_CONFIGURED = "not configured"


client = lru_cache(maxsize=4)(heartbeats.connect)
"""Return a client of a URL, always the same one."""


class RedisProbe(Probe):
    """Whether Redis answers, where one is configured."""

    def __init__(self, url: str | None) -> None:
        super().__init__("redis")
        self.url = url

    def probe(self) -> tuple[str, str] | None:
        if not self.url:
            return NOT_CONFIGURED, ""
        try:
            client(self.url).ping()
        except redis.RedisError as error:
            raise Failed("does not answer", type(error).__name__) from error
        return None


class StreamProbe(DependentProbe):
    """Whether one stream is read to its end, and nothing of it was lost. Its client of Redis never hangs."""

    def __init__(self, environment: Environment, topic: str) -> None:
        super().__init__(f"stream:{topic}")
        self.environment = replace(environment, stream_topics=(topic,))

    def probe(self) -> tuple[str, str]:
        state = stream_state.states(self.environment)[0]
        if state.error:
            raise Failed("cannot be read", state.error)
        lost = (state.trimmed_unread or 0) + self._being_lost(state.stream)
        if lost:
            raise Failed(
                "entries were trimmed before they were read",
                f"{lost} or more; raise the stream's cap, then resolve the dead letters {trimming.CODE}",
            )
        if state.trimmed_unread is None:
            raise Degraded(f"{CANNOT_TELL} whether entries were lost")
        oldest = state.oldest_pending_s or 0.0
        figures = (
            f"lag {'' if state.lag_exact else 'about '}{state.lag}, pending {state.pending}"
            f" (oldest {oldest:.0f} s), consumers {state.consumers}, length {state.length}"
        )
        if state.lag and not state.consumers:
            raise Degraded("nobody reads it", figures)
        if state.lag > LAG_LIMIT or oldest > PENDING_LIMIT_S:
            raise Degraded("behind", figures)
        return "", figures

    def _being_lost(self, stream: str) -> int:
        """Count what is trimmed already and no consumer has noticed, for instance because none runs."""
        connection = client(self.environment.redis_url or "")
        try:
            pipeline = connection.pipeline(transaction=True)
            pipeline.xinfo_stream(stream)
            pipeline.xinfo_groups(stream)
            info, groups = pipeline.execute()
        except redis.ResponseError:
            return 0  # there is no such stream
        except redis.RedisError as error:
            raise Failed("cannot be read", type(error).__name__) from error
        lost = trimming.gap(stream, GROUP, info, groups)
        return lost.deliveries if lost else 0
