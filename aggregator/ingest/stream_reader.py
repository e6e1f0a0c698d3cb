"""What a consumer of the group gets from the streams: new entries, those that others left, and losses.

Memory stays bounded whatever is in a stream. A reply that is too large is broken off; its entries, which
Redis counts as delivered, are then read one by one, and cut where they are too large themselves.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any, NamedTuple

import redis

from aggregator.ingest import trimming
from aggregator.ingest.trimming import GROUP, Look
from aggregator.ledger import Entry
from ecosystems.redis_client import connect_redis, error_text
from ecosystems.redis_replies import (
    MAX_HEAD_BYTES,
    MAX_REPLY_BYTES,
    Cut,
    MeteredParser,
    ReplyTooLarge,
    cutting_parser,
    entry_size,
)

logger = logging.getLogger("signal_hub.consumer")

MAX_STREAM_BATCH = 2000
"""Entries of one read and one transaction: 1,000 were slower, 4,000 no faster."""
BLOCK_MS = 1000
"""How long a read waits for an entry: also how long a SIGTERM may have to wait."""
SOCKET_TIMEOUT_S = 10
CLAIM_IDLE_MS = 60_000
CLAIM_INTERVAL_S = 15
EMPTY_MEMORY_S = 3.0
"""For how long it counts that a stream was seen empty: a hub that runs looks each second."""


class Message(NamedTuple):
    """One entry of a stream, as it was delivered."""

    stream: str
    entry_id: bytes
    fields: list[bytes] | Cut | None
    """Names and values in turn; None for one that was trimmed while it was pending."""
    delivered: int
    """How often it was delivered before this time."""


Ids = Collection[tuple[str, str]]
"""Streams and ids of entries."""


def connect_for_streams(url: str, parser: type = MeteredParser, **options: Any) -> redis.Redis:
    """Return a client for consuming; its answers are bytes in the second protocol's shapes.

    Messages stay the flat lists that Redis sends: a dictionary each would cost a third of the reading.
    """
    usual = {"socket_timeout": SOCKET_TIMEOUT_S, "socket_connect_timeout": 5, "health_check_interval": 30}
    if not url.startswith("unix:"):
        usual["socket_keepalive"] = True
    client = connect_redis(url, protocol=2, parser_class=parser, **{**usual, **options})
    for command in ("XREADGROUP", "XCLAIM", "XRANGE", "XREAD"):
        client.set_response_callback(command, lambda reply, **_: reply)
    return client


class StreamReader:
    """Reads, claims and acknowledges for one consumer. Its methods are for one thread."""

    def __init__(self, url: str, streams: Sequence[str], name: str, max_bytes: int) -> None:
        self.redis: Any = connect_for_streams(url)
        self.streams, self.name = list(streams), name
        self._cutting = connect_for_streams(url, cutting_parser(max_bytes))
        self._portion = max(1, MAX_REPLY_BYTES // max(max_bytes, MAX_HEAD_BYTES))
        """Entries that fit into memory whatever they hold."""
        self._count = MAX_STREAM_BATCH
        self._large: deque[tuple[str, bytes, int]] = deque()
        """Entries that were delivered in a reply that was too large."""
        self._looks: dict[str, tuple[Look, float]] = {}
        self._claim_at = 0.0
        self._refused: dict[str, str] = {}

    def next(self, *, wait: bool, in_hand: Callable[[], Ids]) -> tuple[list[Message], list[Entry]]:
        """Return messages, and dead letters for losses.

        `wait` lets it wait up to BLOCK_MS for the first message. `in_hand` returns what the consumer got
        before and has not acknowledged.
        """
        messages = self._read_large() or self._claim()
        if messages:
            return messages, []
        messages, losses = self._read_all(in_hand)
        if wait and not messages and not losses and self._wait():
            return self._read_all(in_hand)
        return messages, losses

    def _read_all(self, in_hand: Callable[[], Ids]) -> tuple[list[Message], list[Entry]]:
        """Read every stream without waiting. What cannot be read, or is no stream, holds up no others."""
        messages: list[Message] = []
        losses: list[Entry] = []
        refused: dict[str, redis.ResponseError] = {}
        for stream in self.streams:
            try:
                messages += self._read(stream, losses, in_hand)
            except ReplyTooLarge:
                self._count = self._portion
                self._find_large(stream, in_hand())
                messages += self._read_large()
            except redis.ResponseError as error:
                if not is_about_one_key(error) or len(self.streams) == 1:
                    raise
                refused[stream] = error
        if refused and len(refused) == len(self.streams):
            raise next(iter(refused.values()))
        self._report(refused)
        return messages, losses

    def _read(self, stream: str, losses: list[Entry], in_hand: Callable[[], Ids]) -> list[Message]:
        """Read one stream, and look in the same instant whether anything left it unread."""
        known, seen_at = self._looks.get(stream, (None, 0.0))
        is_recent = time.monotonic() - seen_at < EMPTY_MEMORY_S
        seen_empty_at = known.read_id if known and known.is_read_and_empty and is_recent else ""

        def look_and_read() -> Any:
            pipeline = self.redis.pipeline(transaction=True)
            trimming.look(pipeline, stream, note=True, seen_empty_at=seen_empty_at)
            pipeline.xreadgroup(GROUP, self.name, {stream: ">"}, count=self._count)
            return pipeline.execute()

        reply, delivered = self._in_group(stream, look_and_read)
        look = Look.parse(reply)
        self._looks[stream] = look, time.monotonic()
        if look.noted:
            known_losses = in_hand()
            losses += [each for each in look.letters(stream) if (stream, each.entry_id) not in known_losses]
        entries = [entry for _, entries in delivered or [] for entry in entries]
        is_reduced = self._count < MAX_STREAM_BATCH
        if is_reduced and sum(entry_size(fields) for _, fields in entries) < MAX_REPLY_BYTES // 4:
            self._count = min(MAX_STREAM_BATCH, self._count * 2)
        return [Message(stream, entry_id, fields, 0) for entry_id, fields in entries]

    def _wait(self) -> bool:
        """Wait for an entry, which is read afterwards with a look at what left before it."""
        after = {stream: self._looks[stream][0].read_id for stream in self.streams if stream in self._looks}
        try:
            return bool(after and self.redis.xread(after, count=1, block=BLOCK_MS))
        except ReplyTooLarge:
            return True

    def _claim(self) -> list[Message]:
        """Claim, every CLAIM_INTERVAL_S, what other consumers have had for a minute and not acknowledged."""
        if time.monotonic() < self._claim_at:
            return []
        claimed: list[Message] = []
        for stream in self.streams:
            try:
                claimed += self._claim_of(stream)
            except redis.ResponseError as error:
                if not is_about_one_key(error):  # reading it says so
                    raise
        if not claimed:
            self._claim_at = time.monotonic() + CLAIM_INTERVAL_S
        return claimed

    def _claim_of(self, stream: str) -> list[Message]:
        pending = self._in_group(
            stream,
            lambda: self.redis.xpending_range(stream, GROUP, "-", "+", self._count, idle=CLAIM_IDLE_MS),
        )
        if not pending:
            return []
        deliveries = {item["message_id"]: item["times_delivered"] for item in pending}
        try:
            reply: Any = self.redis.xclaim(stream, GROUP, self.name, CLAIM_IDLE_MS, list(deliveries))
        except ReplyTooLarge:
            self._count = self._portion
            self._large.extend((stream, entry_id, delivered) for entry_id, delivered in deliveries.items())
            return self._read_large()
        # Before Redis 7 a trimmed entry comes as None; after, it does not come at all.
        claimed = {message[0]: message[1] for message in reply if message}
        gone = [each for each in deliveries if each not in claimed and self._fields(stream, each) is None]
        return [
            Message(stream, entry_id, claimed.get(entry_id), deliveries[entry_id])
            for entry_id in [*claimed, *gone]
        ]

    def _find_large(self, stream: str, in_hand: Ids) -> None:
        """Find what the reply held that was broken off: this consumer's entries that it has not got."""
        limit = MAX_STREAM_BATCH + len(in_hand) + len(self._large)
        pending = self.redis.xpending_range(stream, GROUP, "-", "+", limit, consumername=self.name)
        known = {*in_hand, *((each, entry_id.decode()) for each, entry_id, _ in self._large)}
        self._large.extend(
            (stream, item["message_id"], item["times_delivered"] - 1)
            for item in pending
            if (stream, item["message_id"].decode()) not in known
        )

    def _read_large(self) -> list[Message]:
        """Return some of the entries that were too large together, one by one."""
        messages = [
            Message(stream, entry_id, self._fields(stream, entry_id), delivered)
            for stream, entry_id, delivered in islice(self._large, self._portion)
        ]
        for _ in messages:
            self._large.popleft()
        return messages

    def _fields(self, stream: str, entry_id: bytes) -> list[bytes] | Cut | None:
        """Return what an entry holds, None where it is gone."""
        found: Any = self._cutting.xrange(stream, entry_id, entry_id)
        fields: list[bytes] | Cut | None = found[0][1] if found else None
        return fields

    def acknowledge(self, stream: str, entry_ids: Collection[str]) -> None:
        """Acknowledge messages, and forget losses, that are on record."""
        losses = {entry_id for entry_id in entry_ids if trimming.is_loss(entry_id)}
        if read := set(entry_ids) - losses:
            self.redis.xack(stream, GROUP, *read)
        if losses:
            self.redis.hdel(trimming.notes_key(stream), *losses)

    def _in_group(self, stream: str, command: Callable[[], Any]) -> Any:
        """Run a command; create the group from the stream's start first where it or the stream is gone."""
        try:
            return command()
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error) and "no such key" not in str(error):
                raise
        try:
            self.redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        return command()

    def _report(self, refused: dict[str, redis.ResponseError]) -> None:
        """Say once of a stream that it cannot be read, while others can."""
        texts = {stream: error_text(error) for stream, error in refused.items()}
        for stream, text in texts.items():
            self._looks.pop(stream, None)
            if self._refused.get(stream) != text:
                logger.warning("stream=%s cannot be read; the others go on: %s", stream, text)
        self._refused = texts

    def close(self) -> None:
        self._cutting.close()
        self.redis.close()


def is_about_one_key(error: redis.ResponseError) -> bool:
    """Return whether another stream may be readable all the same."""
    return isinstance(error, redis.exceptions.NoPermissionError) or any(
        text in str(error) for text in ("WRONGTYPE", "NOPERM", "can't run this command", "No permissions")
    )
