"""Checks of Redis and of the streams there."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from aggregator.health.checks import NOT_CONFIGURED, Check, Degraded, Failed
from aggregator.health.database_checks import DatabaseDependentCheck
from aggregator.ingest import stream_state, trimming
from aggregator.ledger.entries import TRIMMED_UNREAD
from ecosystems.env import Environment
from ecosystems.redis_client import connect_redis, error_text

CLIENT_TIMEOUT_S = 1.5
KEY = "signal_hub:health"
CELERY_CHANNEL = "signal_hub:celery:/{database}.celery.pidbox"
"""Where Celery's workers listen; to subscribe to a pattern a user needs a right to that very pattern."""
ABOUT_THE_STREAM = ("NOGROUP", "no such key", "requires the key", "WRONGTYPE")
"""In errors that the stream or its group is not there, or is no stream: the stream's own check says so."""


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    """Return a client of a URL, always the same one, that gives up soon."""
    options: dict[str, Any] = {
        "socket_timeout": CLIENT_TIMEOUT_S,
        "socket_connect_timeout": CLIENT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    return connect_redis(url, protocol=2, **options)


class RedisCheck(Check):
    """Redis takes what is written, and the hub's user may do all that it has to, where one is configured.

    That is more than an answer to a PING.
    """

    name = "redis"
    fresh_s = 2.0

    def __init__(self, url: str | None, streams: Sequence[str] = ()) -> None:
        super().__init__()
        self.url, self.streams = url, streams

    def run(self) -> tuple[str, str] | None:
        if not self.url:
            return NOT_CONFIGURED, ""
        try:
            missing = _missing_rights(_client(self.url), self.streams)
            if not missing and not _may_subscribe(_client(self.url)):
                raise Degraded("a right is missing", "Celery's workers may not PSUBSCRIBE to their channel")
        except redis.ResponseError as error:
            raise Failed("refuses to write", error_text(error)) from error
        except redis.RedisError as error:
            raise Failed("does not answer", error_text(error)) from error
        if missing:
            raise Failed("rights are missing", ", ".join(missing))
        return None


def _missing_rights(client: Any, streams: Sequence[str]) -> list[str]:
    """Try what the hub does, without an effect; return what its user may not do. Raises RedisError.

    Rights are checked before anything else: in a group that is not there, nothing more happens.
    """
    notes = trimming.notes_key("")
    tries = [
        (KEY, "SET", KEY, "1", "EX", "60"),
        (KEY, "EVAL", "return redis.call('EXISTS', KEYS[1])", "1", KEY),
        (notes, "HGETALL", notes),
        (KEY, "PUBLISH", KEY, ""),
    ]
    for stream in streams:
        tries += [
            (stream, "XREADGROUP", "GROUP", KEY, "health", "STREAMS", stream, ">"),
            (stream, "XREAD", "COUNT", "1", "STREAMS", stream, "$"),
            (stream, "XACK", stream, KEY, "0-0"),
            (stream, "XCLAIM", stream, KEY, "health", "0", "0-0"),
            (stream, "XPENDING", stream, KEY),
            (stream, "XGROUP", "DELCONSUMER", stream, KEY, "health"),
            (stream, "XINFO", "GROUPS", stream),
            (stream, "XRANGE", stream, "0-0", "0-0"),
        ]
    pipeline = client.pipeline(transaction=False)
    for _, *words in tries:
        pipeline.execute_command(*words)
    missing = []
    replies = pipeline.execute(raise_on_error=False)
    for (subject, command, *_), reply in zip(tries, replies, strict=True):
        if isinstance(reply, redis.exceptions.NoPermissionError) or "can't run this" in str(reply):
            missing.append(f"{command} on {subject}")
        elif isinstance(reply, redis.RedisError) and not any(text in str(reply) for text in ABOUT_THE_STREAM):
            raise reply
    return missing


def _may_subscribe(client: Any) -> bool:
    database = client.connection_pool.connection_kwargs.get("db") or 0
    with client.pubsub() as channel:
        try:
            channel.psubscribe(CELERY_CHANNEL.format(database=database))
            channel.parse_response()
        except redis.exceptions.NoPermissionError:
            return False
    return True


class StreamCheck(DatabaseDependentCheck):
    """One stream is read to its end, and nothing of it was lost. Its Redis client never hangs."""

    def __init__(self, environment: Environment, topic: str) -> None:
        super().__init__()
        self.name = f"stream:{topic}"
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
