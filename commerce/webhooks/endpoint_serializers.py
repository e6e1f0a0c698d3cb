"""Endpoints and messages as their owner sees them."""

from collections.abc import Iterable
from typing import Any

from aggregator.encryption import DecryptionError
from commerce.feed import cursors
from commerce.models import Attempt, Endpoint, Message
from commerce.webhooks.signing_secrets import decrypted_address


def serialize_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint as its owner sees it."""
    return {
        "id": endpoint.public_id,
        "channel": endpoint.channel,
        "url": _address(endpoint),
        "description": endpoint.description,
        "ecosystems": endpoint.ecosystems or None,
        "state": endpoint.state,
        "reason": endpoint.reason,
        "failing_since": endpoint.failing_since,
        "cursor": cursors.encode(endpoint.position),
        "created_at": endpoint.created_at,
    }


def _address(endpoint: Endpoint) -> str:
    """Return a webhook's URL; its label where that cannot be decrypted any more, and for a chat."""
    if endpoint.channel != Endpoint.Channel.WEBHOOK:
        return endpoint.label
    try:
        return decrypted_address(endpoint)
    except DecryptionError:
        return endpoint.label


def serialize_message(message: Message, attempts: Iterable[Attempt]) -> dict[str, Any]:
    """Return a message with its attempts as its owner sees it."""
    waiting = message.state == Message.State.WAITING
    return {
        "message_id": message.message_id,
        "cursor": None if message.position is None else cursors.encode(message.position),
        "state": message.state,
        "created_at": message.created_at,
        "due_at": message.due_at if waiting else None,
        "attempts": [
            {
                "number": attempt.number,
                "at": attempt.at,
                "status": attempt.status,
                "error": attempt.error,
                "excerpt": attempt.excerpt,
                "duration_ms": attempt.duration_ms,
            }
            for attempt in attempts
        ],
    }
