"""What `import signal_agent` offers at its top; `build_wheel.py` adds these lines to the package's."""

from ecosystems.bus import (
    BusError,
    Delivery,
    EventBus,
    InvalidSignal,
    Outbox,
    OutboxError,
    OutboxFull,
    Receipt,
    RefusedSignal,
    Unsent,
)
from ecosystems.env import Environment, InvalidEnvironment, load
from ecosystems.signal import Refusal, Signal, parse

__all__ = [
    "BusError",
    "Delivery",
    "Environment",
    "EventBus",
    "InvalidEnvironment",
    "InvalidSignal",
    "Outbox",
    "OutboxError",
    "OutboxFull",
    "Receipt",
    "Refusal",
    "RefusedSignal",
    "Signal",
    "Unsent",
    "load",
    "parse",
]
