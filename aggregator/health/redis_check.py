"""The check of Redis: it lets the hub do there what it has to, which is more than an answer to a PING."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from aggregator.health.checks import Check, Degraded, Failed
from aggregator.ingest import trimming
from ecosystems.redis_client import connect_redis, error_text

NOT_CONFIGURED = "not configured"
CLIENT_TIMEOUT_S = 1.5
KEY = "signal_hub:health"
CELERY_CHANNEL = "signal_hub:celery:/{database}.celery.pidbox"
"""Where Celery's workers listen; to subscribe to a pattern a user needs a right to that very pattern."""


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
    """Redis takes what is written, and the hub's user may do all that it has to, where one is configured."""

    fresh_s = 2.0

    def __init__(self, url: str | None, streams: Sequence[str] = ()) -> None:
        super().__init__("redis")
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
    tries: list[tuple[str, ...]] = [
        ("SET", KEY, "1", "EX", "60"),
        ("EVAL", "return redis.call('EXISTS', KEYS[1])", "1", KEY),
        ("HGETALL", trimming.notes_key("")),
        ("PUBLISH", KEY, ""),
        *(command for stream in streams for command in _tries_of(stream)),
    ]
    pipeline = client.pipeline(transaction=False)
    for command in tries:
        pipeline.execute_command(*command)
    missing = []
    for command, reply in zip(tries, pipeline.execute(raise_on_error=False), strict=True):
        if _is_refusal(reply):
            missing.append(f"{command[0]} on {_subject(command)}")
        elif isinstance(reply, redis.RedisError) and not _is_about_the_stream(reply):
            raise reply
    return missing


def _tries_of(stream: str) -> list[tuple[str, ...]]:
    return [
        ("XREADGROUP", "GROUP", KEY, "health", "STREAMS", stream, ">"),
        ("XREAD", "COUNT", "1", "STREAMS", stream, "$"),
        ("XACK", stream, KEY, "0-0"),
        ("XCLAIM", stream, KEY, "health", "0", "0-0"),
        ("XPENDING", stream, KEY),
        ("XGROUP", "DELCONSUMER", stream, KEY, "health"),
        ("XINFO", "GROUPS", stream),
        ("XRANGE", stream, "0-0", "0-0"),
    ]


def _subject(command: tuple[str, ...]) -> str:
    """Return the key or channel that a command is tried on."""
    return next((each for each in command if each != KEY and ":" in each and "redis.call" not in each), KEY)


def _is_refusal(reply: object) -> bool:
    return isinstance(reply, redis.exceptions.NoPermissionError) or "can't run this" in str(reply)


def _is_about_the_stream(error: redis.RedisError) -> bool:
    """Return whether the stream or the group is not there, or no stream: the stream's own check says so."""
    return any(text in str(error) for text in ("NOGROUP", "no such key", "requires the key", "WRONGTYPE"))


def _may_subscribe(client: Any) -> bool:
    database = client.connection_pool.connection_kwargs.get("db") or 0
    with client.pubsub() as channel:
        try:
            channel.psubscribe(CELERY_CHANNEL.format(database=database))
            channel.parse_response()
        except redis.exceptions.NoPermissionError:
            return False
    return True
