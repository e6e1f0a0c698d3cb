"""Signs of life of Celery's workers and of beat, kept in Redis by the server's own clock."""

import logging
import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger("signal_hub.health")

KEY = "signal_hub:heartbeats"
EVERY_S = 10.0
ALIVE_S = 45.0
FORGOTTEN_S = 86_400.0
"""After so long a program that has gone is no longer expected back, unless it was the last of its kind."""
TIMEOUT_S = 1.5

WORKER = "worker"
BEAT = "beat"


def connect(url: str) -> Any:
    """Return a client that gives up soon; its answers are bytes."""
    options = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    return redis.Redis.from_url(url, protocol=2, retry=Retry(NoBackoff(), 0), **options)


def note(client: Any, kind: str, name: str) -> None:
    """Say that a program is alive. Raises redis.RedisError."""
    seconds, microseconds = client.time()
    client.hset(KEY, f"{kind}:{name}", seconds + microseconds / 1e6)


def ages(client: Any) -> dict[str, dict[str, float]]:
    """Return, by kind and name, how many seconds ago each program was alive. Raises redis.RedisError.

    Those of a day ago and more are forgotten here, but for the last one of a kind: that none is left must not
    pass for well after a day.
    """
    pipeline = client.pipeline(transaction=False)
    pipeline.time()
    pipeline.hgetall(KEY)
    (seconds, microseconds), marks = pipeline.execute()
    now = seconds + microseconds / 1e6
    found: dict[str, dict[str, float]] = {WORKER: {}, BEAT: {}}
    for field, at in marks.items():
        kind, _, name = field.decode().partition(":")
        if kind in found:
            found[kind][name] = max(0.0, now - float(at))
    for kind, seen in found.items():
        gone = [name for name, age in seen.items() if age > max(FORGOTTEN_S, min(seen.values()))]
        for name in gone:
            del seen[name]
            client.hdel(KEY, f"{kind}:{name}")
    return found


class Pulse:
    """Notes one program's signs of life, at most one in EVERY_S; a Redis that is down is no matter here."""

    def __init__(self, url: str, kind: str, name: str) -> None:
        self._client = connect(url)
        self._kind, self._name = kind, name
        self._next_at = 0.0

    def beat(self) -> None:
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + EVERY_S
        try:
            note(self._client, self._kind, self._name)
        except redis.RedisError as error:
            logger.debug("no sign of life kept: %s", type(error).__name__)
