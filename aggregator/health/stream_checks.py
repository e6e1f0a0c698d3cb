"""Checks of Redis and of the streams in it."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from aggregator.health.checks import Check, Degraded, Failed
from aggregator.health.database_checks import DatabaseDependentCheck
from aggregator.ingest import stream_state
from aggregator.ledger.entries import TRIMMED_UNREAD
from ecosystems.env import Environment

NOT_CONFIGURED = "not configured"
CLIENT_TIMEOUT_S = 1.5


@lru_cache(maxsize=4)
def client(url: str) -> Any:
    """Return a client of a URL, always the same one, that gives up soon; its answers are bytes."""
    options = {"socket_timeout": CLIENT_TIMEOUT_S, "socket_connect_timeout": CLIENT_TIMEOUT_S}
    return redis.Redis.from_url(url, protocol=2, retry=Retry(NoBackoff(), 0), **options)


class RedisCheck(Check):
    """Redis answers, where one is configured."""

    def __init__(self, url: str | None) -> None:
        super().__init__("redis")
        self.url = url

    def run(self) -> tuple[str, str] | None:
        if not self.url:
            return NOT_CONFIGURED, ""
        try:
            client(self.url).ping()
        except redis.RedisError as error:
            raise Failed("does not answer", type(error).__name__) from error
        return None


class StreamCheck(DatabaseDependentCheck):
    """One stream is read to its end, and nothing of it was lost. Its Redis client never hangs."""

    def __init__(self, environment: Environment, topic: str) -> None:
        super().__init__(f"stream:{topic}")
        self.environment = replace(environment, stream_topics=(topic,))

    def run(self) -> tuple[str, str]:
        state = stream_state.stream_states(self.environment)[0]
        if state.error:
            raise Failed("cannot be read", state.error)
        if state.is_full:
            raise Failed(
                "nothing can be added any more",
                f"it holds the greatest id that there can be: once lag and pending are 0, DEL {state.stream};"
                " the hub makes it anew. Take the right to add there from who added it",
            )
        if state.trimmed_unread:
            raise Failed(
                "entries were trimmed before they were read",
                f"at least {state.trimmed_unread}; raise the stream's cap, then resolve the dead letters"
                f" {TRIMMED_UNREAD}",
            )
        if state.trimmed_unread is None:
            raise Degraded("unknown without the database whether entries were lost")
        oldest = state.oldest_pending_s or 0.0
        detail = (
            f"lag {'' if state.lag_exact else 'about '}{state.lag}, pending {state.pending}"
            f" (oldest {oldest:.0f} s), consumers {state.consumers}, length {state.length}"
        )
        if state.lag and not state.consumers:
            raise Degraded("no consumers", detail)
        if state.is_behind:
            raise Degraded("behind", detail)
        return "", detail
