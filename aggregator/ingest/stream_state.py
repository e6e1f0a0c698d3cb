"""The state of the configured streams: entries that wait, consumers, entries that were lost."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import redis
from django.db import DatabaseError
from django.db.models import Sum
from redis.backoff import NoBackoff
from redis.retry import Retry

from aggregator.ingest import trimming
from aggregator.ingest.stream_reader import connect_for_streams
from aggregator.ingest.trimming import GROUP, Look
from aggregator.ledger.entries import TRIMMED_UNREAD
from aggregator.models import DeadLetter
from ecosystems.env import Environment
from ecosystems.redis_client import error_text
from ecosystems.redis_replies import ReplyTooLarge

STATE_TIMEOUT_S = 2
MAX_COUNTED = 1000
"""Unread entries that are counted one by one where Redis has no count; more are estimated."""
MAX_LAG = 10_000
"""With more unread entries than this the hub is behind: seconds of work for one consumer."""
MAX_PENDING_AGE_S = 300.0
"""With an older unacknowledged entry than this the hub is behind."""
CONSUMER_TIMEOUT_MS = 60_000
"""A consumer that has not asked for entries for so long is taken to be gone; a live one asks each second."""


@dataclass(frozen=True)
class StreamState:
    """One stream at one moment; the figures are 0 where `error` says why there are none."""

    stream: str
    error: str = ""
    """One line without the server's URL; empty when all is well."""
    length: int = 0
    lag: int = 0
    """Entries that no consumer of the group has read."""
    lag_exact: bool = True
    """False where `lag` is an estimate, of at least MAX_COUNTED."""
    pending: int = 0
    """Entries read and not acknowledged yet."""
    oldest_pending_s: float | None = None
    """Age of the oldest of these, since it was published."""
    consumers: int = 0
    """Consumers that asked for entries within the last minute."""
    trimmed_unread: int | None = 0
    """Entries that the cap removed unread and no operator has resolved, noticed by a consumer or not;
    None when Postgres does not answer."""

    is_full: bool = False
    """Whether it holds the greatest id that there can be, so that nothing can be added any more."""

    @property
    def is_behind(self) -> bool:
        """Return whether more waits than a busy moment explains."""
        return self.lag > MAX_LAG or (self.oldest_pending_s or 0.0) > MAX_PENDING_AGE_S


def stream_states(environment: Environment, *, ask_postgres: bool = True) -> list[StreamState]:
    """Return the state of each configured stream; empty without CORE_REDIS_URL.

    Never raises for a server that is down: then `error` (Redis) or a `trimmed_unread` of None (Postgres) says
    so.
    """
    if not environment.redis_url:
        return []
    streams = [f"{environment.stream_prefix}:{topic}" for topic in environment.stream_topics]
    trimmed = trimmed_unread() if ask_postgres else None
    client = _client(environment.redis_url)
    return [_state(client, stream, None if trimmed is None else trimmed.get(stream, 0)) for stream in streams]


def trimmed_unread() -> dict[str, int] | None:
    """Return how many entries each stream lost unread, unresolved ones only; None when Postgres is down."""
    lost = DeadLetter.objects.filter(code=TRIMMED_UNREAD, resolved_at=None).order_by()
    try:
        return dict(lost.values_list("stream").annotate(lost=Sum("deliveries")))
    except DatabaseError:
        return None


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    return connect_for_streams(
        url,
        socket_timeout=STATE_TIMEOUT_S,
        socket_connect_timeout=STATE_TIMEOUT_S,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
    )


def _state(client: redis.Redis, stream: str, trimmed: int | None) -> StreamState:
    try:
        return _read_state(client, stream, trimmed)
    except redis.RedisError as error:
        return StreamState(stream, error_text(error), trimmed_unread=trimmed)


def _read_state(client: Any, stream: str, trimmed: int | None) -> StreamState:
    if not client.exists(stream):
        return StreamState(stream, trimmed_unread=trimmed)
    pipeline = client.pipeline(transaction=True)
    trimming.look(pipeline, stream)
    pipeline.time()
    reply, (seconds, _) = pipeline.execute()
    look = Look.parse(reply)
    if unnoticed := look.lost + sum(look.noted.values()):
        trimmed = (trimmed or 0) + unnoticed
    known = StreamState(
        stream, length=look.length, trimmed_unread=trimmed, is_full=look.last_id == trimming.LAST_ID
    )
    if not look.read_id:  # no consumer has read from it yet
        return replace(known, lag=look.length)
    lag, exact = _lag(client, stream, look)
    oldest = client.xpending_range(stream, GROUP, "-", "+", 1) if look.pending else []
    return replace(
        known,
        lag=lag,
        lag_exact=exact,
        pending=look.pending,
        oldest_pending_s=max(0.0, seconds - _ms(oldest[0]["message_id"].decode()) / 1000) if oldest else None,
        consumers=_active_consumers(client, stream),
    )


def _active_consumers(client: Any, stream: str) -> int:
    """Return how many consumers still ask for entries.

    Before 7.2 Redis notes that a consumer asked only when there was something to read. Where none seems to
    ask, clients are counted that wait for entries at the moment, of any stream of this database.
    """
    active: int = sum(each["idle"] < CONSUMER_TIMEOUT_MS for each in client.xinfo_consumers(stream, GROUP))
    if active:
        return active
    database = str(client.connection_pool.connection_kwargs.get("db") or 0)
    try:
        clients = client.client_list(_type="normal")
    except redis.ResponseError:  # a role that may not ask
        return 0
    return sum(
        each["cmd"] in {"xread", "xreadgroup"}
        and each["db"] == database
        and int(each["idle"]) * 1000 < CONSUMER_TIMEOUT_MS
        for each in clients
    )


def _lag(client: Any, stream: str, look: Look) -> tuple[int, bool]:
    """Return how many entries the group has not read, and whether that was counted.

    Redis counts since 7.0, except in streams from which entries were deleted; what it counts may include
    entries that are gone. Else up to MAX_COUNTED are counted here; more are estimated from the times in the
    entries' ids.
    """
    if look.read_id == look.last_id or not look.length:
        return 0, True
    if look.lag >= 0:
        return min(look.lag, look.length), True
    if trimming.entry_order(look.read_id) < trimming.entry_order(look.first_id):
        return look.length, True
    try:
        unread = len(client.xrange(stream, f"({look.read_id}", "+", MAX_COUNTED))
    except ReplyTooLarge:
        unread = MAX_COUNTED
    if unread < MAX_COUNTED:
        return unread, True
    first, read, last = map(_ms, (look.first_id, look.read_id, look.last_id))
    share = (last - read) / max(1, last - first)
    return max(MAX_COUNTED, round(look.length * min(1.0, share))), False


def _ms(entry_id: str) -> int:
    return trimming.entry_order(entry_id)[0]
