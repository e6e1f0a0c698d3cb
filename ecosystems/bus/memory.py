"""The memory transport: subscribers in the same process alone."""

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
        """Call the subscribers; a signal counts as confirmed whatever they raise."""
        for entry in entries:
            if callbacks := tuple(self._subscribers[entry.topic]):
                signal = entry.signal()
                for callback in callbacks:
                    call_subscriber(callback, signal)
        return [CONFIRMED] * len(entries)

    def subscribe(self, callback: Callback, topic: str) -> Unsubscribe:
        subscribers = self._subscribers[topic]
        subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in subscribers:
                subscribers.remove(callback)

        return unsubscribe

    def close(self) -> None:
        self._subscribers.clear()


def call_subscriber(callback: Callback, signal: Signal) -> None:
    """Call a subscriber; log what it raises, so that others still get the signal."""
    try:
        callback(signal)
    except Exception:
        logger.exception("EventBus: a subscriber failed on %s/%s", signal.ecosystem, signal.signal_id)
