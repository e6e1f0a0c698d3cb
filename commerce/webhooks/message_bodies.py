"""The body of a message, and the id that stays the same over all its attempts."""

import base64
import hashlib
from typing import Any

import msgspec

from aggregator.models import TradingSignal
from commerce.entitlements import Scope
from commerce.feed import signal_serializer
from commerce.feed.outcome_serializer import PublicOutcome
from commerce.models import Endpoint, Message

SIGNAL_TYPE = "signal.recorded"
OUTCOME_TYPE = "outcome.decided"
TEST_TYPE = "webhook.test"


def message_id(endpoint: Endpoint, subject: str) -> str:
    """Return the `webhook-id` of `subject` for an endpoint: derived, so it outlives the message's row."""
    digest = hashlib.sha256(f"{endpoint.public_id}\0{subject}".encode()).digest()
    return "msg_" + base64.b32encode(digest[:20]).decode().lower()


def body(
    message: Message, signal: TradingSignal | None, scope: Scope, outcome: PublicOutcome | None = None
) -> bytes:
    """Return a message as JSON, in the form that Standard Webhooks recommends: type, timestamp, data."""
    content: dict[str, Any] = {"type": TEST_TYPE, "timestamp": message.created_at, "data": {"test": True}}
    if outcome:
        content = {"type": OUTCOME_TYPE, "timestamp": message.created_at, "data": outcome}
    elif signal:
        content = {
            "type": SIGNAL_TYPE,
            "timestamp": signal.received_at,
            "data": signal_serializer.serialize(signal, scope),
        }
    return msgspec.json.encode(content)
