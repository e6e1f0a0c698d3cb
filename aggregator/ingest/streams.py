"""Ingest from Redis: a consumer group on the streams `<prefix>:<topic>`.

An entry is acknowledged after the ledger has committed it, never before. What a consumer leaves behind when
it dies is claimed by another; what is not recorded in five deliveries becomes a dead letter.
"""

import os
import socket
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
import redis
from django.conf import settings

from aggregator import ledger
from aggregator.ingest import trimming
from aggregator.ingest.stream_reader import Ids, Message, StreamReader, is_about_one_key
from aggregator.ingest.trimming import GROUP
from aggregator.ledger import Entry, Outage, Result
from aggregator.ledger.entries import ENTRY_TOO_LARGE, EXHAUSTED, NO_PAYLOAD
from aggregator.postgres.pool import serve_signals
from aggregator.worker import Loop
from ecosystems.redis_replies import Cut, cut, entry_bytes, entry_size

MAX_DELIVERIES = 5
MAX_STREAM_BYTES = 1_048_576
"""Of one entry, where CORE_STREAM_MAX_BYTES says nothing else."""


class StreamConsumer(Loop):
    """One consumer of the group.

    Where it reads ahead, a thread acknowledges the batch before and prepares the next while one is written,
    so that Postgres, which has the most to do, waits for neither. Its methods are for one thread.
    """

    def __init__(
        self,
        url: str,
        streams: Sequence[str],
        name: str | None = None,
        *,
        max_bytes: int = MAX_STREAM_BYTES,
        read_ahead: bool = False,
    ) -> None:
        serve_signals()
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.max_bytes = max_bytes
        self.reader = StreamReader(url, streams, self.name, max_bytes)
        self.redis = self.reader.redis
        self._held: ledger.Batch | None = None
        self._thread = ThreadPoolExecutor(1, "stream-reader", serve_signals)
        self._next: Future[ledger.Batch] | None = None
        self._unacknowledged: deque[tuple[str, set[str]]] = deque()
        """Streams and ids of what is on record. Taken from by what reads: the thread where it reads ahead."""
        self._read_ahead = read_ahead

    def run_once(self, *, wait: bool = True) -> int:
        """Record one batch; return how many entries were, or are about to be, acknowledged.

        `wait` lets it wait up to a second for the first entry. Raises Outage or a redis.RedisError; entries
        that have been read are held and come first the next time.
        """
        batch = self._held = self._held or self._next_batch(wait=wait)
        if self._read_ahead and batch.validated and self._next is None:
            self._next = self._thread.submit(self._read_batch, wait=False)
        try:
            results = ledger.write(batch, "redis")
        except Outage:
            self._renew_claims()
            raise
        final = self._final(batch.entries, results)
        self._unacknowledged.extend(final.items())
        self._held = None  # now, since what reads takes it to be acknowledged, or about to be
        if self._read_ahead:
            self._thread.submit(self._acknowledge)  # the next read tries again, and raises what this one does
        else:
            self._acknowledge()
        return sum(map(len, final.values()))

    def _next_batch(self, *, wait: bool) -> ledger.Batch:
        ahead, self._next = self._next, None
        batch = ahead.result() if ahead else None
        if batch and batch.validated:
            return batch
        if self._read_ahead:
            return self._thread.submit(self._read_batch, wait=wait).result()
        return self._read_batch(wait=wait)

    def _read_batch(self, *, wait: bool) -> ledger.Batch:
        held = self._held  # what is on record before this is acknowledged first, and cannot be read again
        try:
            self._acknowledge()
        except redis.ResponseError as error:
            if is_about_one_key(error):  # it must not hold up the other streams
                self._unacknowledged.popleft()
            raise
        messages, entries = self.reader.next(wait=wait, in_hand=partial(_ids, held))
        entries += [entry for message in messages for entry in self._entries(message)]
        return ledger.Batch(ledger.validate(entries))

    def _entries(self, message: Message) -> list[Entry]:
        stream, entry_id, fields, delivered = message
        if fields is None:
            return [trimming.trimmed_pending(stream, entry_id.decode())]
        if isinstance(fields, list) and entry_size(fields) > self.max_bytes:
            fields = cut(entry_bytes(fields))
        if isinstance(fields, Cut):
            return [
                Entry(
                    fields.head,
                    f"stream:{stream}",
                    stream=stream,
                    entry_id=entry_id.decode(),
                    deliveries=delivered + 1,
                    refusal=ENTRY_TOO_LARGE,
                    whole=(fields.length, fields.sha256),
                )
            ]
        return self.translate(stream, entry_id, fields, delivered)

    def translate(self, stream: str, entry_id: bytes, fields: list[bytes], delivered: int) -> list[Entry]:
        """Return the ledger's entries of one of the stream; `fields` are names and values in turn.

        `delivered` is how often it was delivered before this time.
        """
        return [_entry(stream, entry_id, fields, delivered)]

    def _final(self, entries: Sequence[Entry], results: Sequence[Result]) -> dict[str, set[str]]:
        """Return the ids, by stream, of the entries whose results are final."""
        final: dict[str, set[str]] = {}
        deferred: list[Entry] = []
        for entry, result in zip(entries, results, strict=True):
            if result.is_final:
                final.setdefault(entry.stream, set()).add(entry.entry_id)
            else:
                deferred.append(entry)
        for entry in deferred:  # of what became several entries, all have to be final
            final.get(entry.stream, set()).discard(entry.entry_id)
        return final

    def _acknowledge(self) -> None:
        """Acknowledge what is on record. What Redis cannot take now is tried again before the next read."""
        while self._unacknowledged:
            stream, entry_ids = self._unacknowledged[0]
            self.reader.acknowledge(stream, entry_ids)
            self._unacknowledged.popleft()

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
            if not trimming.is_loss(entry.entry_id):
                before = entry.deliveries - (entry.refusal is not EXHAUSTED)
                counts.setdefault((entry.stream, before), []).append(entry.entry_id)
        try:
            for (stream, before), entry_ids in counts.items():
                self.redis.xclaim(stream, GROUP, self.name, 0, entry_ids, retrycount=before, justid=True)
        except redis.RedisError:
            pass  # Redis is away too; the next read raises that

    def close(self) -> None:
        """Record what was read ahead, leave the group if nothing is pending, and close the connections."""
        self._read_ahead = False
        self._thread.shutdown()
        try:
            self._acknowledge()
            while self._held or self._next:
                self.run_once(wait=False)
        except (Outage, redis.RedisError):
            pass  # what was read ahead stays pending
        self._renew_claims()
        try:
            for stream in self.reader.streams:
                if not self.redis.xpending_range(stream, GROUP, "-", "+", 1, consumername=self.name):
                    self.redis.xgroup_delconsumer(stream, GROUP, self.name)
        except redis.RedisError:
            pass  # the entries stay pending: the next consumer claims them
        self.reader.close()


def configured_consumer() -> StreamConsumer:
    """Return a consumer of the hub's streams, for the worker."""
    environment = settings.ENVIRONMENT
    assert environment.redis_url, "the settings name this loop only where there is a Redis"
    streams = [f"{environment.stream_prefix}:{topic}" for topic in environment.stream_topics]
    return StreamConsumer(
        environment.redis_url, streams, max_bytes=environment.stream_max_bytes, read_ahead=True
    )


def _ids(batch: ledger.Batch | None) -> Ids:
    """Return the entries of a batch by their streams and ids."""
    return {(entry.stream, entry.entry_id) for entry in batch.entries} if batch else set()


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
