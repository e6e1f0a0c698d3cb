"""What Stripe tells, in whatever order and however often.

An event only says that something about a subscription may have changed. What it is now is asked of Stripe,
under a lock that puts all events of one subscription in a row: an old event that comes late finds the present
state like any other (https://docs.stripe.com/webhooks#event-ordering).
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import stripe

from commerce.billing.stripe_sync import subscription_lock, sync_subscription
from commerce.models import StripeEvent

logger = logging.getLogger("signal_hub.billing")

REFUND_EVENTS = ("charge.refunded", "charge.dispute.created")
"""What Stripe itself leaves to the merchant: a subscription goes on after a refund and during a dispute."""


class EventPayload(msgspec.Struct, frozen=True):
    """The part of an event that matters here (https://docs.stripe.com/api/events/object)."""

    id: str
    type: str
    created: int
    data: dict[str, Any]


def apply_event(event: EventPayload) -> str:
    """Apply a verified event; return what came of it.

    Raises NotUnderstood, NoStripe or stripe.StripeError; then nothing is kept, and Stripe sends it again.
    """
    subscription_id = _subscription_of(event)
    with subscription_lock(subscription_id or event.id):
        if StripeEvent.objects.filter(event_id=event.id).exists():
            return "known"
        created_at = datetime.fromtimestamp(event.created, UTC)
        if subscription_id:
            outcome = sync_subscription(subscription_id, created_at)
        elif event.type in REFUND_EVENTS:
            outcome = "ends nothing here: end the subscription at Stripe, where it should end"
            logger.warning("stripe event=%s type=%s outcome=%s", event.id, event.type, outcome)
        else:
            outcome = "of no concern"
        StripeEvent.objects.create(
            event_id=event.id,
            type=event.type[:255],
            object_id=subscription_id or str((event.data.get("object") or {}).get("id") or "")[:255],
            created_at=created_at,
            outcome=outcome,
        )
    logger.info("stripe event=%s type=%s outcome=%s", event.id, event.type, outcome)
    return outcome


def _subscription_of(event: EventPayload) -> str | None:
    """Return the subscription that an event is about, if any."""
    about = event.data.get("object") or {}
    match event.type.split("."):
        case ["customer", "subscription", *_]:
            found = about.get("id")
        case ["checkout", "session", *_]:
            found = about.get("subscription")
        case ["invoice", *_]:
            # Since the API's version of March 2025 an invoice names it two levels down.
            parent = (about.get("parent") or {}).get("subscription_details") or {}
            found = parent.get("subscription") or about.get("subscription")
        case _:
            return None
    return found.get("id") if isinstance(found, Mapping) else found


def verify_event(body: bytes, signature: str, secret: str) -> EventPayload:
    """Return the event in `body`, signed by Stripe's scheme within the last five minutes.

    Raises stripe.SignatureVerificationError, or msgspec.DecodeError for what is no event.
    """
    stripe.WebhookSignature.verify_header(body, signature, secret, stripe.Webhook.DEFAULT_TOLERANCE)
    return msgspec.json.decode(body, type=EventPayload)
