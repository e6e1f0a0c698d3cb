"""Ingest from Redis: a consumer group on the streams `<prefix>:<topic>`.

An entry is acknowledged after the ledger has committed it, never before. What a consumer leaves behind when
it dies is claimed by another; what is not recorded in five deliveries becomes a dead letter.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec
import redis
from django.conf import settings
from django.db import close_old_connections

from aggregator import ledger
from aggregator.ingest import trimming
from aggregator.ledger import Entry, Outage, Result
from aggregator.ledger.entries import EXHAUSTED, NO_PAYLOAD
from aggregator.worker import Loop
from ecosystems.env import Environment

GROUP = "aggregator"
MAX_STREAM_BATCH = 2000
"""Entries of one read and one transaction: 1,000 were slower, 4,000 no faster, and each may have 64 KiB."""
BLOCK_MS = 1000
"""How long a read waits for an entry: also how long a SIGTERM may have to wait."""
SOCKET_TIMEOUT_S = 10
CLAIM_IDLE_MS = 60_000
CLAIM_INTERVAL_S = 15
MAX_DELIVERIES = 5


def connect_for_streams(url: str) -> redis.Redis:
    """Return a client for consuming; its answers are bytes in the second protocol's shapes.

    Messages stay the flat lists that Redis sends: a dictionary each would cost a third of the reading.
    """
    options: dict[str, Any] = {} if url.startswith("unix:") else {"socket_keepalive": True}
    client = redis.Redis.from_url(
        url,
        protocol=2,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=5,
        health_check_interval=30,
        **options,
    )
    for command in ("XREADGROUP", "XCLAIM"):
        client.set_response_callback(command, lambda reply, **_: reply)
    return client


class StreamConsumer(Loop):
    """One consumer of the group.

    While one batch is written, a thread reads and prepares the next: the one waits for Postgres while the
    other works. Its methods are for one thread.
    """

    def __init__(
        self,
        client: redis.Redis,
        streams: Sequence[str],
        name: str | None = None,
        *,
        read_ahead: bool = False,
    ) -> None:
        self.redis = client
        self.streams = list(streams)
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._held: ledger.Batch | None = None
        self._claim_at = 0.0
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stream-reader")
        self._next: Future[ledger.Batch] | None = None
        self._read_ahead = read_ahead

    @classmethod
    def from_environment(cls, environment: Environment) -> "StreamConsumer":
        """Return a consumer of the configured topics. Needs CORE_REDIS_URL."""
        assert environment.redis_url, "the caller checks that there is a Redis"
        streams = [f"{environment.stream_prefix}:{topic}" for topic in environment.stream_topics]
        return cls(connect_for_streams(environment.redis_url), streams, read_ahead=True)

    def run_once(self, *, wait: bool = True) -> int:
        """Record one batch; return how many entries were acknowledged.

        `wait` lets it wait up to BLOCK_MS for the first entry. Raises Outage or a redis.RedisError; entries
        that have been read are held and come first the next time.
        """
        close_old_connections()
        batch = self._held = self._held or self._next_batch(wait=wait)
        if self._read_ahead and batch.validated and self._next is None:
            self._next = self._reader.submit(self._read_batch, wait=wait)
        try:
            results = ledger.write(batch, "redis")
        except Outage:
            self._renew_claims()
            raise
        self._held = None
        return self.acknowledge(batch.entries, results)

    def _next_batch(self, *, wait: bool) -> ledger.Batch:
        if self._next is None:
            return self._read_batch(wait=wait)
        fetched, self._next = self._next, None
        return fetched.result()

    def _read_batch(self, *, wait: bool) -> ledger.Batch:
        return ledger.Batch(ledger.validate(self.claim() or self.read(wait=wait)))

    def read(self, *, wait: bool) -> list[Entry]:
        """Return entries that no consumer of the group has seen."""
        entries = [entry for stream in self.streams for entry in self._read_stream(stream)]
        if entries or not wait:
            return entries
        reply = self._in_group(
            lambda: self.redis.xreadgroup(
                GROUP, self.name, dict.fromkeys(self.streams, ">"), count=MAX_STREAM_BATCH, block=BLOCK_MS
            )
        )
        return self._entries(reply)

    def _read_stream(self, stream: str) -> list[Entry]:
        """Read without waiting, and check in the same instant whether anything was trimmed before it."""

        def check_and_read() -> Any:
            pipeline = self.redis.pipeline(transaction=True)
            pipeline.xinfo_stream(stream)
            pipeline.xinfo_groups(stream)
            pipeline.xreadgroup(GROUP, self.name, {stream: ">"}, count=MAX_STREAM_BATCH)
            return pipeline.execute()

        info, groups, reply = self._in_group(check_and_read)
        lost = trimming.trimmed_gap(stream, GROUP, info, groups)
        return [*([lost] if lost else []), *self._entries(reply)]

    def claim(self) -> list[Entry]:
        """Claim, every CLAIM_INTERVAL_S, what other consumers have had for a minute and not acknowledged."""
        if time.monotonic() < self._claim_at:
            return []
        claimed = [entry for stream in self.streams for entry in self._claim_stream(stream)]
        if not claimed:
            self._claim_at = time.monotonic() + CLAIM_INTERVAL_S
        return claimed

    def _claim_stream(self, stream: str) -> list[Entry]:
        pending = self._in_group(
            lambda: self.redis.xpending_range(stream, GROUP, "-", "+", MAX_STREAM_BATCH, idle=CLAIM_IDLE_MS)
        )
        if not pending:
            return []
        deliveries = {item["message_id"]: item["times_delivered"] for item in pending}
        reply: Any = self.redis.xclaim(stream, GROUP, self.name, CLAIM_IDLE_MS, list(deliveries))
        # Before Redis 7 a trimmed entry comes as None; after, it does not come at all.
        claimed = {message[0]: message[1] for message in reply if message}
        entries = [
            entry
            for entry_id, fields in claimed.items()
            for entry in self.translate(stream, entry_id, fields, deliveries[entry_id])
        ]
        return entries + self._gone(stream, [entry_id for entry_id in deliveries if entry_id not in claimed])

    def _gone(self, stream: str, entry_ids: list[bytes]) -> list[Entry]:
        """Return a dead letter for each entry that was trimmed while it was pending."""
        pipeline = self.redis.pipeline(transaction=False)
        for entry_id in entry_ids:
            pipeline.xrange(stream, entry_id, entry_id)
        found = pipeline.execute()
        return [
            trimming.trimmed_pending(stream, entry_id)
            for entry_id, entry in zip(entry_ids, found, strict=True)
            if not entry
        ]

    def acknowledge(self, entries: Sequence[Entry], results: Sequence[Result]) -> int:
        """Acknowledge the entries whose results are final; return how many there are."""
        final: dict[str, list[str]] = {}
        deferred = {
            (entry.stream, entry.entry_id)
            for entry, result in zip(entries, results, strict=True)
            if not result.is_final
        }
        for entry in entries:
            # A gap in the stream has no id; of what became several entries, all have to be final.
            if entry.entry_id and (entry.stream, entry.entry_id) not in deferred:
                final.setdefault(entry.stream, []).append(entry.entry_id)
        for stream, entry_ids in final.items():
            self.redis.xack(stream, GROUP, *entry_ids)
        return sum(map(len, final.values()))

    def translate(self, stream: str, entry_id: bytes, fields: list[bytes], delivered: int) -> list[Entry]:
        """Return the ledger's entries of one of the stream; `fields` are names and values in turn.

        `delivered` is how often it was delivered before this time.
        """
        return [_entry(stream, entry_id, fields, delivered)]

    def _entries(self, reply: Any) -> list[Entry]:
        return [
            entry
            for name, messages in reply or []
            for entry_id, fields in messages
            for entry in self.translate(name.decode(), entry_id, fields, 0)
        ]

    def _renew_claims(self) -> None:
        """Claim again what was read and waits for Postgres, without counting it as delivered.

        Else one consumer after another, or one that is started again and again, would have used up the five
        deliveries before the outage is over.
        """
        waiting = [self._held] if self._held else []
        if self._next and self._next.done() and not self._next.exception():
            waiting.append(self._next.result())
        counts: dict[tuple[str, int], list[Any]] = {}
        for entry in (entry for batch in waiting for entry in batch.entries):
            if entry.entry_id:
                before = entry.deliveries - (entry.refusal is not EXHAUSTED)
                counts.setdefault((entry.stream, before), []).append(entry.entry_id)
        try:
            for (stream, before), entry_ids in counts.items():
                self.redis.xclaim(stream, GROUP, self.name, 0, entry_ids, retrycount=before, justid=True)
        except redis.RedisError:
            pass  # Redis is away too; the next read raises that

    def close(self) -> None:
        """Record what was read ahead, leave the group if nothing is pending, and close the connection."""
        self._read_ahead = False
        try:
            while self._held or self._next:
                self.run_once(wait=False)
        except (Outage, redis.RedisError):
            pass  # what was read ahead stays pending
        self._reader.shutdown()
        self._renew_claims()
        try:
            for stream in self.streams:
                if not self.redis.xpending_range(stream, GROUP, "-", "+", 1, consumername=self.name):
                    self.redis.xgroup_delconsumer(stream, GROUP, self.name)
        except redis.RedisError:
            pass  # the entries stay pending: the next consumer claims them
        self.redis.close()

    def _in_group(self, command: Callable[[], Any]) -> Any:
        """Run a command; create the group from the stream's start first where it or the stream is gone."""
        try:
            return command()
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error) and "no such key" not in str(error):
                raise
        for stream in self.streams:
            try:
                self.redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except redis.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
        return command()


def configured_consumer() -> StreamConsumer:
    """Return a consumer of the hub's streams, for the worker."""
    return StreamConsumer.from_environment(settings.ENVIRONMENT)


def _entry(stream: str, entry_id: bytes, fields: list[bytes], delivered: int) -> Entry:
    """Do what `StreamConsumer.translate` does, for the hub's own streams."""
    refusal = EXHAUSTED if delivered >= MAX_DELIVERIES else None
    if len(fields) == 2 and fields[0] == b"payload":
        payload = fields[1]
    else:
        named = dict(zip(fields[::2], fields[1::2], strict=True))
        payload = named.get(b"payload", b"")
        if b"payload" not in named:
            texts = {name.decode("latin-1"): value.decode("latin-1") for name, value in named.items()}
            payload, refusal = msgspec.json.encode(texts), refusal or NO_PAYLOAD
    return Entry(
        payload,
        # Redis does not say who added an entry.
        f"stream:{stream}",
        stream=stream,
        entry_id=entry_id.decode(),
        deliveries=delivered if refusal is EXHAUSTED else delivered + 1,
        refusal=refusal,
    )
