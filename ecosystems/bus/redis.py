"""The redis transport: a signal is a stream entry under `<prefix>:<topic>`, in the field `payload`."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from ecosystems.bus.memory import call_subscriber
from ecosystems.bus.transport import (
    CONFIRMED,
    BusError,
    Callback,
    Entry,
    Fate,
    Postponed,
    Transport,
    Unsubscribe,
)
from ecosystems.http_errors import one_line
from ecosystems.redis_client import connect_redis
from ecosystems.redis_replies import Cut, cutting_parser
from ecosystems.signal import Refusal, parse

PIPELINE_LENGTH = 500
"""Commands of one pipeline: enough to hide the round trip, few enough for the buffers on the way."""

REDIS_CONNECT_TIMEOUT_S = 5
REDIS_READ_TIMEOUT_S = 10
BLOCK_MS = 1000
"""How long a subscriber's read waits in Redis: less than the read timeout, which means an outage."""
READ_COUNT = 16
MAX_ENTRY_BYTES = 1024 * 1024
"""Of an entry that a subscriber gets; READ_COUNT of them are in memory at once."""

OUTAGES = (redis.RedisError, OSError, UnicodeError)
"""Errors after which a signal is sent again; a UnicodeError is that of a host name such as `a..b`."""

logger = logging.getLogger("signal_hub.bus")


class RedisTransport(Transport):
    """Appends with XADD and counts an entry as confirmed when Redis has given it an id.

    Redis validates no signal, so none is ever refused: after any error, a wrong password included, the
    signal can be sent again once the cause is fixed. Batches are pipelined without a transaction: one that
    breaks off halfway is sent again as a whole, and the ledger drops the repeats.
    """

    name = "redis"

    def __init__(self, url: str, *, prefix: str = "core_signals", maxlen: int = 1_000_000) -> None:
        """`url` is `redis://`, `rediss://` or `unix://`; `maxlen` caps the stream, roughly (MAXLEN ~).

        Connects at the first use. Raises BusError for an invalid URL.
        """
        self._url = url
        self._prefix = prefix
        self._maxlen = maxlen
        self._client = make_client(url)
        self._subscriptions: list[_Subscription] = []

    def send(self, entries: Sequence[Entry]) -> list[Fate]:
        fates: list[Fate] = []
        try:
            with self._connection() as connection:
                self._append(connection, entries, fates)
        except OUTAGES as error:
            return fates + [Postponed(one_line(error))] * (len(entries) - len(fates))
        stop = next((fate for fate in fates if isinstance(fate, Postponed)), Postponed(""))
        return fates + [stop] * (len(entries) - len(fates))

    def _append(self, connection: AbstractConnection, entries: Sequence[Entry], fates: list[Fate]) -> None:
        """Send pipelines and add a fate for each answer; a pipeline is read while Redis works on the next.

        Nothing more is sent after an error. Raises RedisError or OSError when the connection breaks.
        """
        heads = {topic: self._command_head(topic) for topic in {entry.topic for entry in entries}}
        unread = 0
        for start in range(0, len(entries), PIPELINE_LENGTH):
            batch = entries[start : start + PIPELINE_LENGTH]
            # redis-py's own pipeline spends three times as long on packing as Redis does on the commands.
            packed = b"".join(
                b"%b$%d\r\n%b\r\n" % (heads[entry.topic], len(entry.payload), entry.payload)
                for entry in batch
            )
            connection.send_packed_command([packed])  # type: ignore[no-untyped-call]
            answers = [_answer(connection) for _ in range(unread)]
            fates += answers
            unread = len(batch)
            if any(answer is not CONFIRMED for answer in answers):
                break
        fates += [_answer(connection) for _ in range(unread)]

    @contextmanager
    def _connection(self) -> Iterator[AbstractConnection]:
        """Yield an open connection; one that Redis has closed is opened again."""
        pool = self._client.connection_pool
        connection = pool.get_connection()
        try:
            yield connection
        except BaseException:
            connection.disconnect()  # type: ignore[no-untyped-call]
            raise
        finally:
            pool.release(connection)

    def _command_head(self, topic: str) -> bytes:
        """Return the command without its last argument, as the Redis protocol writes it."""
        arguments = ("XADD", f"{self._prefix}:{topic}", "MAXLEN", "~", str(self._maxlen), "*", "payload")
        encoded = [argument.encode() for argument in arguments]
        return b"*8\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in encoded)

    def subscribe(self, callback: Callback, topic: str) -> Unsubscribe:
        """Call `callback`, from a thread of its own, with what is appended from now on.

        Reads independently of the hub's consumer group. After an outage of Redis it continues where it
        was. Raises BusError when Redis cannot be reached now.
        """
        client = make_client(self._url, parser_class=cutting_parser(MAX_ENTRY_BYTES))
        for command in ("XREAD", "XREVRANGE"):
            client.set_response_callback(command, lambda reply, **_: reply)
        subscription = _Subscription(client, f"{self._prefix}:{topic}", callback)
        self._subscriptions.append(subscription)
        return subscription.stop

    def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.stop(wait=False)
        for subscription in self._subscriptions:
            subscription.stop()
        self._client.close()


class _Subscription:
    """A thread that reads one stream until it is stopped."""

    def __init__(self, client: redis.Redis, key: str, callback: Callback) -> None:
        self._client = client
        self._key = key
        self._callback = callback
        self._stopped = threading.Event()
        self._after = self._last_id()
        self._thread = threading.Thread(target=self._run, name=f"subscription to {key}", daemon=True)
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """End the thread, at the latest when its read returns; may be called by the subscriber itself."""
        self._stopped.set()
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    def _last_id(self) -> bytes:
        # Not `$`: it means "now" anew at each read, so that what came in between would be missed.
        try:
            last: Any = self._client.xrevrange(self._key, count=1)
        except OUTAGES as error:
            raise BusError(f"cannot subscribe to {self._key}: {one_line(error)}") from error
        return last[0][0] if last else b"0-0"

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._read()
            except OUTAGES as error:
                logger.warning("EventBus: the subscription to %s waits: %s", self._key, one_line(error))
                self._stopped.wait(1)
        self._client.close()

    def _read(self) -> None:
        answer: Any = self._client.xread({self._key: self._after}, count=READ_COUNT, block=BLOCK_MS)
        for entry_id, fields in answer[0][1] if answer else ():
            if self._stopped.is_set():
                return
            self._after = entry_id
            if isinstance(fields, Cut):
                logger.warning("EventBus: entry %s of %s is too large", entry_id, self._key)
                continue
            signal = parse(dict(zip(fields[::2], fields[1::2], strict=True)).get(b"payload", b""))
            if isinstance(signal, Refusal):
                logger.warning("EventBus: entry %s of %s: %s", entry_id, self._key, signal.detail)
            else:
                call_subscriber(self._callback, signal)


def make_client(url: str, **options: Any) -> redis.Redis:
    """Return a client with timeouts, which leaves retries to its caller. Raises BusError."""
    options |= {"socket_timeout": REDIS_READ_TIMEOUT_S}
    if not url.startswith("unix:"):
        options |= {"socket_connect_timeout": REDIS_CONNECT_TIMEOUT_S, "socket_keepalive": True}
    try:
        # RESP2, which Redis 6.2 and every later one answer in the same shapes.
        return connect_redis(url, protocol=2, retry=Retry(NoBackoff(), 0), **options)
    except ValueError as error:
        raise BusError(
            "the Redis URL is not valid: it may be a redis://, rediss://, unix:// or redis+sentinel:// URL"
        ) from error


def _answer(connection: AbstractConnection) -> Fate:
    try:
        connection.read_response()
    except redis.ResponseError as error:
        return Postponed(one_line(error))
    return CONFIRMED
