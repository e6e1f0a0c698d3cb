"""Ingest from Redis streams that are not the hub's own, as NautilusTrader's: each is read by a source."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from django.conf import settings

from aggregator.ingest.streams import MAX_DELIVERIES, StreamConsumer
from aggregator.ingest.trimming import GROUP
from aggregator.ledger import Entry
from aggregator.ledger.entries import EXHAUSTED
from aggregator.ledger.errors import classified
from aggregator.ledger.source_entries import SENDER_PREFIX, Arrival, source_entries
from aggregator.models import Source
from aggregator.postgres.pool import release_connections
from aggregator.sources.tokens import record_use

logger = logging.getLogger("signal_hub.worker")

SOURCES_INTERVAL_S = 2.0
"""How often is looked for sources that came, changed or went."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


class SourceStreamConsumer(StreamConsumer):
    """A consumer of the streams of all sources. Its methods are for one thread."""

    idle_interval_s = 0.5

    def __init__(self, url: str) -> None:
        super().__init__(url, [], max_bytes=settings.ENVIRONMENT.stream_max_bytes)
        self._sources: dict[str, Source] = {}
        self._look_at = 0.0
        self._skipped: list[tuple[str, bytes]] = []

    def run_once(self, *, wait: bool = True) -> int:
        """Record one batch; return how many entries were acknowledged. Raises Outage, redis.RedisError."""
        self._find_sources()
        if not self.reader.streams:
            return 0
        done = super().run_once(wait=wait)
        skipped, self._skipped = self._skipped, []
        for stream in {stream for stream, _ in skipped}:
            self.redis.xack(stream, GROUP, *[entry_id for key, entry_id in skipped if key == stream])
        return done + len(skipped)

    def translate(self, stream: str, entry_id: bytes, fields: list[bytes], delivered: int) -> list[Entry]:
        source = self._sources.get(stream)
        if source is None:
            return []  # it went after this was read, which stays pending
        body, arrival = _stream_body(fields), Arrival.in_stream(stream, entry_id.decode(), delivered + 1)
        if delivered >= MAX_DELIVERIES:
            sender = f"{SENDER_PREFIX}{source.name}"
            return [Entry(body, sender, None, stream, arrival.entry_id, delivered, EXHAUSTED)]
        entries = source_entries(source, body, arrival)
        if entries:
            record_use(source)
        else:
            self._skipped.append((stream, entry_id))
        return entries

    def _find_sources(self) -> None:
        if time.monotonic() < self._look_at:
            return
        with classified():
            found = list(Source.objects.filter(revoked_at=None).exclude(stream=""))
        release_connections()  # reading waits for entries
        self._sources = {source.stream: source for source in found if self._can_be_read(source)}
        self.reader.streams = list(self._sources)
        self._look_at = time.monotonic() + SOURCES_INTERVAL_S

    def _can_be_read(self, source: Source) -> bool:
        """Return whether the source's key holds a stream, or nothing yet; log it where it does not.

        Reading another kind of key would end the worker, as it should for the hub's own streams.
        """
        kind = self.redis.type(source.stream)
        if kind in {b"stream", b"none"}:
            return True
        logger.warning("source=%s is not read: its key holds no stream", source.name)
        return False


def source_consumer() -> SourceStreamConsumer:
    """Return a consumer of the sources' streams, for the worker."""
    url = settings.ENVIRONMENT.redis_url
    assert url, "the settings name this loop only where there is a Redis"
    return SourceStreamConsumer(url)


def _stream_body(fields: Sequence[bytes]) -> bytes:
    """Return an entry as one JSON object; `fields` are names and values in turn, as Redis has them.

    A payload is opened, whether it is JSON or msgpack: a field `encoding` says which, else its first byte.
    """
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    content: dict[str, Any] = {_text(name): _text(value) for name, value in named.items()}
    if (payload := named.get(b"payload")) is not None:
        content["payload"] = _opened(payload, named.get(b"encoding", b"").lower())
    return _encode(content)


def _opened(payload: bytes, encoding: bytes) -> msgspec.Raw | str:
    """Return a payload's content as JSON, or its bytes as text where they are neither JSON nor msgpack."""
    is_json = encoding == b"json" or (not encoding and payload.lstrip()[:1] in {b"{", b"[", b'"'})
    try:
        if is_json:
            msgspec.json.decode(payload)
            return msgspec.Raw(payload)
        return msgspec.Raw(_encode(msgspec.msgpack.decode(payload)))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return _text(payload)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
