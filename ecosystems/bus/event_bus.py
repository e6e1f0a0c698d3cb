"""Publishing through every configured transport, with or without an outbox, and subscribing.

A signal is validated first: what the hub would refuse never leaves the agent.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ecosystems.bus.configuration import TransportName, transports_of
from ecosystems.bus.outbox import Outbox
from ecosystems.bus.outbox_database import OutboxError
from ecosystems.bus.outbox_sender import OutboxSender
from ecosystems.bus.receipts import Delivery, Receipt, Unsent
from ecosystems.bus.transport import BusError, Callback, Entry, Transport, Unsubscribe
from ecosystems.signal import Refusal, Signal, parse

if TYPE_CHECKING:
    from ecosystems.env import Environment

DEFAULT_TOPIC = "signals"
CLOSE_TIMEOUT_S = 5.0
"""How long `close` continues to deliver; the rest stays in the outbox."""


class InvalidSignal(BusError):
    """A signal breaks the schema; nothing of the call it came with was sent. `refusal` has the reason."""

    def __init__(self, signal: Signal, refusal: Refusal) -> None:
        super().__init__(f"signal {signal.signal_id!r:.140} is not valid: {refusal.detail}")
        self.signal = signal
        self.refusal = refusal


class EventBus:
    """Publishes signals through every transport that carries their ecosystem. Safe for several threads.

    Without an outbox, publishing waits for the confirmations and raises when they do not come. With one, it
    returns when the signals are on the disk: threads deliver them, or with `background=False` calls of
    `flush`. Subscribers in this process never wait for the outbox.
    """

    def __init__(
        self,
        transports: Sequence[Transport],
        *,
        outbox: Outbox | None = None,
        background: bool = True,
        topic: str = DEFAULT_TOPIC,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`topic` is the default of calls without one; the bus closes transports and outbox.

        Names of transports are unique where there is an outbox: it keeps its progress by them.
        """
        self.transports = tuple(transports)
        self.outbox = outbox
        self.topic = topic
        self._carried = frozenset[str]().union(*(transport.ecosystems for transport in transports))
        self._clock = clock
        self._sending = threading.RLock()  # a subscriber may publish, within the call that calls it
        through = [transport for transport in transports if outbox is not None and not transport.local]
        self._direct = [transport for transport in transports if transport not in through]
        self._routes = {
            ecosystem: [transport.name for transport in through if ecosystem in transport.ecosystems]
            for ecosystem in self._carried
        }
        if len({transport.name for transport in through}) < len(through):
            raise ValueError("transports that share an outbox need names of their own")
        self.senders = [OutboxSender(outbox, transport, clock=clock) for transport in through if outbox]
        if outbox is not None:
            outbox.reassign(self._routes)
        self._background = background
        if background:
            for sender in self.senders:
                sender.start()

    @classmethod
    def from_environment(
        cls,
        environment: "Environment",
        *,
        ecosystem: str | None = None,
        backend: TransportName | None = None,
        outbox: Path | str | None = None,
        background: bool = True,
    ) -> Self:
        """Return the bus of an environment; logs its backend, and one warning for a fallback.

        Where a database URL is set for an ecosystem, its rows go there too. `ecosystem` limits the bus to
        one; `backend` selects that transport alone; `outbox` is the path of its file. Raises BusError
        for what the environment lacks, OutboxError for a file that cannot be used.
        """
        topics = environment.stream_topics
        topic = DEFAULT_TOPIC if DEFAULT_TOPIC in topics else topics[0]
        transports = transports_of(environment, ecosystem, backend)
        file = None if outbox is None else Outbox(outbox)
        return cls(transports, outbox=file, background=background, topic=topic)

    def publish(self, signal: Signal, topic: str | None = None) -> Receipt:
        """Send one signal; see `publish_many`."""
        return self.publish_many((signal,), topic)

    def publish_many(self, signals: Iterable[Signal], topic: str | None = None) -> Receipt:
        """Send signals, in their order.

        Raises InvalidSignal before anything is sent. With an outbox: they are on the disk when this returns,
        and pending in the receipt; raises OutboxError when they could not be kept. Without one: raises
        Unsent, with the receipt, when a transport refused a signal or did not confirm it.
        """
        signals = list(signals)
        now = datetime.now(UTC)
        entries = [self._entry(signal, topic or self.topic, now) for signal in signals]
        deliveries = self._store(signals, entries) if self.senders else []
        with self._sending:
            deliveries += [self._send(transport, entries) for transport in self._direct]
        receipt = Receipt(tuple(deliveries))
        if not self.senders and not receipt.complete:
            raise Unsent(receipt)
        return receipt

    def flush(self, seconds: float | None = None) -> Receipt:
        """Deliver from the outbox until it is empty or its transports wait after a failure; no sleeping.

        `seconds` ends that earlier, between two batches. The receipt covers this call alone.
        """
        end = None if seconds is None else self._clock() + seconds
        deliveries: dict[str, Delivery] = {}
        for sender in self.senders:
            while (end is None or self._clock() < end) and (new := sender.run_once()):
                old = deliveries.get(new.transport, Delivery(new.transport))
                deliveries[new.transport] = replace(
                    new, confirmed=old.confirmed + new.confirmed, refused=old.refused + new.refused
                )
        return Receipt(tuple(deliveries.values()))

    def backlog(self) -> int:
        """Return how many deliveries by transports of this bus wait in the outbox. Raises OutboxError."""
        counts = self.outbox.counts() if self.outbox is not None else {}
        return sum(counts.get((sender.transport.name, "pending"), 0) for sender in self.senders)

    def subscribe(self, callback: Callback, topic: str | None = None) -> Unsubscribe:
        """Call `callback` with each signal of `topic` from now on; return a function that ends that.

        Through memory it receives what this bus publishes, in the publishing thread; through redis what any
        bus publishes, in a thread of its own. What a subscriber raises is logged. Raises
        Unsupported where the bus has neither.
        """
        able = [transport for transport in self.transports if transport.name in {"memory", "redis"}]
        return (able or self.transports)[0].subscribe(callback, topic or self.topic)

    def close(self) -> None:
        """Deliver for a few seconds what is due, then end threads, subscriptions and connections."""
        if self._background:
            for sender in self.senders:
                sender.stop()
            with suppress(OutboxError):  # its sender has logged it
                self.flush(CLOSE_TIMEOUT_S)
        for transport in self.transports:
            transport.close()
        if self.outbox is not None:
            self.outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _entry(self, signal: Signal, topic: str, now: datetime) -> Entry:
        """Validate a signal as the hub will. Raises InvalidSignal, or BusError if no transport carries it."""
        payload = validate(signal, now)
        if signal.ecosystem not in self._carried:
            raise BusError(f"no transport of this bus carries {signal.ecosystem} signals")
        return Entry(signal.ecosystem, signal.signal_id, topic, payload)

    def _store(self, signals: Sequence[Signal], entries: Sequence[Entry]) -> list[Delivery]:
        """Put entries into the outbox and wake the senders."""
        assert self.outbox is not None
        self.outbox.put([entry for entry in entries if self._routes[entry.ecosystem]], self._routes)
        for sender in self.senders:
            sender.wake()
        return [
            Delivery(
                sender.transport.name,
                pending=tuple(s for s in signals if s.ecosystem in sender.transport.ecosystems),
                reason="it is in the outbox",
            )
            for sender in self.senders
        ]

    @staticmethod
    def _send(transport: Transport, entries: Sequence[Entry]) -> Delivery:
        carried = [entry for entry in entries if entry.ecosystem in transport.ecosystems]
        return Delivery.of(transport.name, carried, transport.send(carried) if carried else [])


def validate(signal: Signal, now: datetime) -> bytes:
    """Return the signal's JSON if the hub, at `now`, will accept it. Raises InvalidSignal."""
    try:
        payload = signal.to_json()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidSignal(signal, Refusal("not_json", f"it has no JSON form ({error})")) from error
    # The encoder writes NaN and infinities as null, which would pass: look for them where nulls are too many.
    nulls = payload.count(b"null")
    fields = msgspec.structs.astuple(signal)
    if nulls > sum(value is None for value in fields) and not _finite(fields):
        raise InvalidSignal(signal, Refusal("not_finite", "it holds a NaN or an infinity"))
    parsed = parse(payload, now)
    if isinstance(parsed, Refusal):
        raise InvalidSignal(signal, parsed)
    return payload


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_finite, value))
    return True
