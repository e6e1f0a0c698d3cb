"""The memory transport: subscribers in the same process, and nobody else."""

import logging
from collections import defaultdict
from collections.abc import Sequence

from ecosystems.bus.transport import CONFIRMED, Callback, Entry, Fate, Transport, Unsubscribe
from ecosystems.signal import Signal

logger = logging.getLogger("signal_hub.bus")


class MemoryTransport(Transport):
    """Calls each subscriber in the publishing thread, in the order of subscription."""

    name = "memory"
    local = True

    def __init__(self) -> None:
        self._subscribers: dict[str, list[Callback]] = defaultdict(list)

    def send(self, entries: Sequence[Entry]) -> list[Fate]:
        """Call the subscribers; a signal counts as confirmed however they take it."""
        for entry in entries:
            if callbacks := tuple(self._subscribers[entry.topic]):
                signal = entry.signal()
                for callback in callbacks:
                    call(callback, signal)
        return [CONFIRMED] * len(entries)

    def subscribe(self, callback: Callback, topic: str) -> Unsubscribe:
        subscribers = self._subscribers[topic]
        subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in subscribers:
                subscribers.remove(callback)

        return unsubscribe

    def listeners(self) -> int:
        """How many subscriptions there are, over all topics."""
        return sum(map(len, self._subscribers.values()))

    def close(self) -> None:
        self._subscribers.clear()


def call(callback: Callback, signal: Signal) -> None:
    """Give a signal to a subscriber; log what it raises, so that it harms nobody else."""
    try:
        callback(signal)
    except Exception:
        logger.exception("EventBus: a subscriber failed on %s/%s", signal.ecosystem, signal.signal_id)
