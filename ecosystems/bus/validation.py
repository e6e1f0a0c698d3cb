"""Validation before sending: what the hub would refuse never leaves the agent."""

import math
from datetime import datetime
from typing import Any

import msgspec

from ecosystems.bus.transport import BusError
from ecosystems.signal import Refusal, Signal, parse


class InvalidSignal(BusError):
    """A signal breaks the schema; nothing of the call it came with was sent. `refusal` has the reason."""

    def __init__(self, signal: Signal, refusal: Refusal) -> None:
        super().__init__(f"signal {signal.signal_id!r:.140} is not valid: {refusal.detail}")
        self.signal = signal
        self.refusal = refusal


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
