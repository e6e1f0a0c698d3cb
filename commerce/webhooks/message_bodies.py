"""The body of a message, and the id that stays the same over all its attempts."""

import base64
import hashlib

import msgspec

from aggregator.models import TradingSignal
from commerce.feed.outcome_serializer import serialize_outcome
from commerce.feed.signal_serializer import serialize
from commerce.models import Endpoint, Message


def message_id(endpoint: Endpoint, subject: str) -> str:
    """Return the `webhook-id` of `subject` for an endpoint: derived, so it outlives the message's row."""
    digest = hashlib.sha256(f"{endpoint.public_id}\0{subject}".encode()).digest()
    return "msg_" + base64.b32encode(digest[:20]).decode().lower()


def body(message: Message, signal: TradingSignal | None) -> bytes:
    """Return a message as JSON, in the form that Standard Webhooks recommends: type, timestamp, data."""
    kind, timestamp, data = "webhook.test", message.created_at, {"test": True}
    if signal and message.outcome_event:
        kind, data = "outcome.decided", serialize_outcome(signal, message.outcome_event)
    elif signal:
        kind, timestamp, data = "signal.recorded", signal.received_at, serialize(signal)
    return msgspec.json.encode({"type": kind, "timestamp": timestamp, "data": data})
