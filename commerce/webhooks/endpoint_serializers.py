"""Endpoints and deliveries as their owner sees them."""

from collections.abc import Iterable
from typing import Any

from aggregator.encryption import DecryptionError
from commerce.feed import cursors
from commerce.models import Attempt, Delivery, Endpoint
from commerce.webhooks.signing_secrets import decrypted_address


def endpoint_shown(endpoint: Endpoint) -> dict[str, Any]:
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


def delivery_shown(delivery: Delivery, tries: Iterable[Attempt]) -> dict[str, Any]:
    """Return a delivery with its attempts as its owner sees it."""
    waiting = delivery.state == Delivery.State.WAITING
    return {
        "message_id": delivery.message_id,
        "cursor": None if delivery.position is None else cursors.encode(delivery.position),
        "state": delivery.state,
        "created_at": delivery.created_at,
        "due_at": delivery.due_at if waiting else None,
        "attempts": [
            {
                "number": tried.number,
                "at": tried.at,
                "status": tried.status,
                "error": tried.error,
                "excerpt": tried.excerpt,
                "duration_ms": tried.duration_ms,
            }
            for tried in tries
        ],
    }
