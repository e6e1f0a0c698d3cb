"""What Stripe tells, in whatever order and however often.

An event only says that something about a subscription may have changed. What it is now is asked of Stripe,
under a lock that puts all events of one subscription in a row: an old event that comes late finds the present
state like any other (https://docs.stripe.com/webhooks#event-ordering).
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import stripe
from django.db import connection, transaction
from django.utils import timezone

from commerce import subscriptions
from commerce.billing.client import client
from commerce.models import Customer, Plan, StripeEvent, Subscription

logger = logging.getLogger("signal_hub.billing")

GRACE = timedelta(days=7)
"""How long a subscription whose payment failed still gives rights: Stripe's retries take about as long."""

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"

State = Subscription.State
STATES = {
    "trialing": State.TRIALING,
    "active": State.ACTIVE,
    "past_due": State.PAST_DUE,
    "canceled": State.CANCELLED,
    "unpaid": State.EXPIRED,
    "incomplete_expired": State.EXPIRED,
    "paused": State.EXPIRED,
}
"""Stripe's states in ours. One that is `incomplete` awaits its first payment: it is not there yet."""


class Event(msgspec.Struct, frozen=True):
    """The part of an event that matters here (https://docs.stripe.com/api/events/object)."""

    id: str
    type: str
    created: int
    data: dict[str, Any]


class NotUnderstood(Exception):
    """The event cannot be applied until an operator mends something; Stripe sends it again."""


def handle(event: Event) -> str:
    """Apply a verified event; return what came of it.

    Raises NotUnderstood, NoStripe or stripe.StripeError; then nothing is kept, and Stripe sends it again.
    """
    subscription_id = _subscription_of(event)
    with transaction.atomic(), connection.cursor() as cursor:
        # One at a time: else an answer of Stripe's that is already old could be applied after a newer one.
        cursor.execute(LOCK, [f"stripe:{subscription_id or event.id}"])
        if StripeEvent.objects.filter(event_id=event.id).exists():
            return "known"
        created_at = datetime.fromtimestamp(event.created, UTC)
        outcome = _synchronise(subscription_id, created_at) if subscription_id else "of no concern"
        StripeEvent.objects.create(
            event_id=event.id,
            type=event.type[:255],
            object_id=subscription_id or "",
            created_at=created_at,
            outcome=outcome,
        )
    logger.info("stripe event=%s type=%s outcome=%s", event.id, event.type, outcome)
    return outcome


def _subscription_of(event: Event) -> str | None:
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


def _synchronise(subscription_id: str, told_at: datetime) -> str:
    """Ask Stripe for a subscription and make ours like it."""
    fetched = client().v1.subscriptions.retrieve(subscription_id).to_dict()
    state = STATES.get(fetched["status"])
    if state is None:
        return f"{fetched['status']}: nothing yet"
    customer = _customer(fetched)
    if customer is None:
        return "no customer of ours"
    Customer.objects.select_for_update().get(pk=customer.pk)
    ours = Subscription.objects.filter(stripe_subscription_id=subscription_id).first()
    if ours is None:
        ours = Subscription(customer=customer, stripe_subscription_id=subscription_id)
    if state in Subscription.LIVE and _is_replaced(customer, ours, fetched):
        logger.error("customer=%d pays for two subscriptions at Stripe", customer.pk)
        return "a newer subscription is live"
    before = ours.state if ours.pk else "none"
    _apply(ours, fetched, state, told_at)
    return f"{before} → {ours.state}"


def _apply(ours: Subscription, fetched: Mapping[str, Any], state: State, told_at: datetime) -> None:
    now = timezone.now()
    ours.plan = _plan(fetched)
    ours.grace_until = (ours.grace_until or now + GRACE) if state == State.PAST_DUE else None
    ours.state = state
    ours.started_at = _time(fetched.get("start_date")) or now
    ours.period_ends_at = _period_end(fetched)
    ours.cancelled_at = _time(fetched.get("canceled_at"))
    ours.ends_at = _time(fetched.get("ended_at")) or _time(fetched.get("cancel_at"))
    if ours.ends_at is None and fetched.get("cancel_at_period_end"):
        ours.ends_at = ours.period_ends_at
    ours.stripe_event_at = max(told_at, ours.stripe_event_at or told_at)
    if state in Subscription.LIVE:
        subscriptions.end_others(ours.customer, now, keep=ours.pk)
    ours.save()


def _is_replaced(customer: Customer, ours: Subscription, fetched: Mapping[str, Any]) -> bool:
    """Tell whether another paid subscription of the customer's, begun later, is the live one."""
    began = _time(fetched.get("start_date")) or timezone.now()
    others = customer.subscriptions.filter(state__in=Subscription.LIVE, stripe_subscription_id__isnull=False)
    return others.exclude(pk=ours.pk).filter(started_at__gt=began).exists()


def _customer(fetched: Mapping[str, Any]) -> Customer | None:
    """Return whose a subscription is, and remember Stripe's id of them."""
    number = str((fetched.get("metadata") or {}).get("customer", ""))
    known = Customer.objects.filter(stripe_customer_id=fetched["customer"]).first()
    if known is None and number.isascii() and number.isdigit():
        known = Customer.objects.filter(pk=int(number[:18])).first()
        if known:
            known.stripe_customer_id = fetched["customer"]
            known.save(update_fields=["stripe_customer_id"])
    return known


def _plan(fetched: Mapping[str, Any]) -> Plan:
    """Return the plan that is paid for: by its price, else by what checkout noted. Raises NotUnderstood."""
    items = fetched["items"]["data"]
    prices = [item["price"]["id"] for item in items]
    plan = Plan.objects.filter(stripe_price_id__in=prices).exclude(stripe_price_id="").first()
    plan = plan or Plan.objects.filter(slug=(fetched.get("metadata") or {}).get("plan", "")).first()
    if plan is None:
        raise NotUnderstood(f"no plan has the Stripe price {', '.join(prices)}")
    return plan


def _period_end(fetched: Mapping[str, Any]) -> datetime | None:
    """Return when the paid period ends; since March 2025 each item has its own."""
    ends = [item.get("current_period_end") for item in fetched["items"]["data"]]
    return _time(max((end for end in ends if end), default=None) or fetched.get("current_period_end"))


def _time(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def verified(body: bytes, signature: str, secret: str) -> Event:
    """Return the event in `body`, signed by Stripe's scheme within the last five minutes.

    Raises stripe.SignatureVerificationError, or msgspec.DecodeError for what is no event.
    """
    stripe.WebhookSignature.verify_header(body, signature, secret, stripe.Webhook.DEFAULT_TOLERANCE)
    return msgspec.json.decode(body, type=Event)
