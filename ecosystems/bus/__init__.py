"""The event bus: how an agent's signals leave it. Needs `requests`, `redis`, `msgspec` and `psycopg` alone.

with EventBus.from_environment(ecosystems.env.load(), ecosystem="crypto", outbox="crypto.outbox") as bus:
    bus.publish(Signal(signal_id="…", ecosystem="crypto", …))
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ecosystems.bus.configuration import Override, transports_of
from ecosystems.bus.outbox import Outbox, OutboxError, OutboxFull
from ecosystems.bus.outbox_sender import Courier, CourierThread
from ecosystems.bus.receipts import Delivery, Parked, Receipt, Unsent, merged
from ecosystems.bus.transport import BusError, Callback, Entry, Transport, Unsubscribe, Unsupported
from ecosystems.bus.validation import InvalidSignal, judge
from ecosystems.signal import Signal

if TYPE_CHECKING:
    from ecosystems.env import Environment

__all__ = [
    "BusError",
    "Delivery",
    "EventBus",
    "InvalidSignal",
    "Outbox",
    "OutboxError",
    "OutboxFull",
    "Parked",
    "Receipt",
    "Transport",
    "Unsent",
    "Unsupported",
]

TOPIC = "signals"
CLOSE_S = 5.0
"""How long `close` goes on delivering; what is left stays in the outbox."""


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
        topic: str = TOPIC,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`topic` is the one that calls without a topic mean; the bus closes transports and outbox.

        Names of transports are unique where there is an outbox: it keeps its progress by them.
        """
        self.transports = tuple(transports)
        self.outbox = outbox
        self.topic = topic
        self._carried = frozenset[str]().union(*(transport.ecosystems for transport in transports))
        self._clock = clock
        self._sending = threading.Lock()
        through = [transport for transport in transports if outbox is not None and not transport.local]
        self._direct = [transport for transport in transports if transport not in through]
        self._routes = {
            ecosystem: [transport.name for transport in through if ecosystem in transport.ecosystems]
            for ecosystem in self._carried
        }
        if len({transport.name for transport in through}) < len(through):
            raise ValueError("transports that share an outbox need names of their own")
        self.couriers = [Courier(outbox, transport, clock=clock) for transport in through if outbox]
        if outbox is not None:
            outbox.adopt(self._routes)
        self._threads = [CourierThread(courier) for courier in self.couriers] if background else []

    @classmethod
    def from_environment(
        cls,
        environment: "Environment",
        *,
        ecosystem: str | None = None,
        backend: Override | None = None,
        outbox: Path | str | None = None,
        background: bool = True,
    ) -> Self:
        """Return the bus that the environment describes; logs its backend, and one warning for a fallback.

        Where a database URL is set for an ecosystem, its rows go there too. `ecosystem` limits the bus to
        one; `backend` takes that transport alone; `outbox` is the path of its file. Raises BusError for what
        the environment lacks, OutboxError for a file that cannot be used.
        """
        topics = environment.stream_topics
        topic = TOPIC if TOPIC in topics or not topics else topics[0]
        transports = transports_of(environment, ecosystem, backend)
        kept = None if outbox is None else Outbox(outbox)
        return cls(transports, outbox=kept, background=background, topic=topic)

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
        deliveries = self._keep(signals, entries) if self.couriers else []
        with self._sending:
            deliveries += [self._send(transport, entries) for transport in self._direct]
        receipt = Receipt(tuple(deliveries))
        if not self.couriers and not receipt.complete:
            raise Unsent(receipt)
        return receipt

    def flush(self, seconds: float | None = None) -> Receipt:
        """Deliver from the outbox until it is empty or its transports wait after a failure; no sleeping.

        `seconds` ends that earlier, between two batches. The receipt tells of this call alone.
        """
        end = None if seconds is None else self._clock() + seconds
        deliveries = []
        for courier in self.couriers:
            while (end is None or self._clock() < end) and (delivery := courier.run_once()):
                deliveries.append(delivery)
        return merged(deliveries)

    def subscribe(self, callback: Callback, topic: str | None = None) -> Unsubscribe:
        """Call `callback` with each signal of `topic` from now on; return what ends that.

        Through memory it sees what this bus publishes, in the publishing thread; through redis what anybody
        publishes, in a thread of its own. What a subscriber raises is logged and harms nobody else. Raises
        Unsupported where the bus has neither.
        """
        for transport in self.transports:
            if transport.name in {"memory", "redis"}:
                return transport.subscribe(callback, topic or self.topic)
        return self.transports[0].subscribe(callback, topic or self.topic)

    def close(self) -> None:
        """End threads, after they tried for a few seconds what is due, subscriptions and connections."""
        for thread in self._threads:
            thread.stop()
        if self._threads:
            with suppress(OutboxError):  # its courier has said why
                self.flush(CLOSE_S)
        for transport in self.transports:
            transport.close()
        if self.outbox is not None:
            self.outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _entry(self, signal: Signal, topic: str, now: datetime) -> Entry:
        """Judge a signal as the hub will. Raises InvalidSignal, or BusError when nothing carries it."""
        payload = judge(signal, now)
        if signal.ecosystem not in self._carried:
            raise BusError(f"no transport of this bus carries {signal.ecosystem} signals")
        return Entry(signal.ecosystem, signal.signal_id, topic, payload)

    def _keep(self, signals: Sequence[Signal], entries: Sequence[Entry]) -> list[Delivery]:
        """Put entries into the outbox and wake the couriers."""
        assert self.outbox is not None
        self.outbox.put([entry for entry in entries if self._routes[entry.ecosystem]], self._routes)
        for thread in self._threads:
            thread.wake()
        return [
            Delivery(
                courier.transport.name,
                pending=tuple(s for s in signals if s.ecosystem in courier.transport.ecosystems),
                reason="it is in the outbox",
            )
            for courier in self.couriers
        ]

    @staticmethod
    def _send(transport: Transport, entries: Sequence[Entry]) -> Delivery:
        carried = [entry for entry in entries if entry.ecosystem in transport.ecosystems]
        return Delivery.of(transport.name, carried, transport.send(carried) if carried else [])
