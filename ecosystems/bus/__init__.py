"""The event bus: how an agent's signals leave it. Needs `requests`, `redis`, `msgspec` and `psycopg` alone.

with EventBus.from_environment(ecosystems.env.load(), ecosystem="crypto", outbox="crypto.outbox") as bus:
    bus.publish(Signal(signal_id="…", ecosystem="crypto", …))
"""

from ecosystems.bus.event_bus import EventBus, InvalidSignal
from ecosystems.bus.outbox import Outbox
from ecosystems.bus.outbox_database import OutboxError, OutboxFull
from ecosystems.bus.receipts import Delivery, Receipt, RefusedSignal, Unsent
from ecosystems.bus.transport import BusError, Transport, Unsupported

__all__ = [
    "BusError",
    "Delivery",
    "EventBus",
    "InvalidSignal",
    "Outbox",
    "OutboxError",
    "OutboxFull",
    "Receipt",
    "RefusedSignal",
    "Transport",
    "Unsent",
    "Unsupported",
]
