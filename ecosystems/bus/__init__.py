"""The event bus: how an agent's signals leave it. Needs `requests`, `redis`, `msgspec` and `psycopg` alone.

with EventBus.from_environment(config.env.load(), ecosystem="crypto") as bus:
    bus.publish(Signal(signal_id="…", ecosystem="crypto", …))
"""

import math
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ecosystems.bus.receipt import Delivery, Parked, Receipt, Unsent
from ecosystems.bus.transport import BusError, Callback, Entry, Transport, Unsubscribe, Unsupported
from ecosystems.bus.wiring import Override, transports_of
from ecosystems.signal import Refusal, Signal, parse

if TYPE_CHECKING:
    from config.env import Environment

__all__ = [
    "BusError",
    "Delivery",
    "EventBus",
    "InvalidSignal",
    "Parked",
    "Receipt",
    "Transport",
    "Unsent",
    "Unsupported",
]

TOPIC = "signals"


class InvalidSignal(BusError):
    """A signal breaks the schema; nothing of the call it came with was sent. `refusal` says why."""

    def __init__(self, signal: Signal, refusal: Refusal) -> None:
        super().__init__(f"signal {signal.signal_id!r:.140} is not valid: {refusal.detail}")
        self.signal = signal
        self.refusal = refusal


class EventBus:
    """Publishes signals through every transport that carries their ecosystem. Safe for several threads."""

    def __init__(self, transports: Sequence[Transport], *, topic: str = TOPIC) -> None:
        """`topic` is the one that calls without a topic mean."""
        self.transports = tuple(transports)
        self.topic = topic
        self._carried = frozenset[str]().union(*(transport.ecosystems for transport in transports))
        self._sending = threading.Lock()

    @classmethod
    def from_environment(
        cls, environment: "Environment", *, ecosystem: str | None = None, backend: Override | None = None
    ) -> Self:
        """Return the bus that the environment describes; logs its backend, and one warning for a fallback.

        Where a database URL is set for an ecosystem, its rows go there too. `ecosystem` limits the bus to
        one; `backend` takes that transport alone. Raises BusError for what the environment lacks.
        """
        topics = environment.stream_topics
        topic = TOPIC if TOPIC in topics or not topics else topics[0]
        return cls(transports_of(environment, ecosystem, backend), topic=topic)

    def publish(self, signal: Signal, topic: str | None = None) -> Receipt:
        """Send one signal; see `publish_many`."""
        return self.publish_many((signal,), topic)

    def publish_many(self, signals: Iterable[Signal], topic: str | None = None) -> Receipt:
        """Send signals, in their order, and return when every transport has confirmed them.

        Raises InvalidSignal before anything is sent, and Unsent with a receipt when a transport refused a
        signal or could not be reached.
        """
        entries = [self._entry(signal, topic or self.topic) for signal in signals]
        with self._sending:
            receipt = Receipt(tuple(self._send(transport, entries) for transport in self.transports))
        if not receipt.complete:
            raise Unsent(receipt)
        return receipt

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
        """End subscriptions and connections."""
        for transport in self.transports:
            transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _entry(self, signal: Signal, topic: str) -> Entry:
        """Judge a signal as the hub will. Raises InvalidSignal, or BusError when nothing carries it."""
        payload = judge(signal)
        if signal.ecosystem not in self._carried:
            raise BusError(f"no transport of this bus carries {signal.ecosystem} signals")
        return Entry(signal.ecosystem, signal.signal_id, topic, payload)

    @staticmethod
    def _send(transport: Transport, entries: Sequence[Entry]) -> Delivery:
        carried = [entry for entry in entries if entry.ecosystem in transport.ecosystems]
        return Delivery.of(transport.name, carried, transport.send(carried) if carried else [])


def judge(signal: Signal) -> bytes:
    """Return the signal's JSON if the hub will find it valid. Raises InvalidSignal."""
    try:
        payload = signal.to_json()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidSignal(signal, Refusal("not_json", f"it has no JSON form ({error})")) from error
    # The encoder writes NaN and infinities as null, which would pass. Only surplus nulls are worth a look.
    if payload.count(b"null") > _absent(signal) and not _finite(msgspec.structs.astuple(signal)):
        raise InvalidSignal(signal, Refusal("not_finite", "it holds a NaN or an infinity"))
    judged = parse(payload)
    if isinstance(judged, Refusal):
        raise InvalidSignal(signal, judged)
    return payload


def _absent(signal: Signal) -> int:
    """How many nulls the signal's JSON has by right, those in `raw_payload` aside."""
    optional = (signal.entry_price, signal.stop_loss, signal.take_profit, signal.volume, signal.confidence)
    return sum([value is None for value in optional])


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_finite, value))
    return True
