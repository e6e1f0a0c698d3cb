"""Our copy of what Stripe holds: each subscription as it is there now.

What is done about one is done in a row, under a lock: an answer of Stripe's that is already old must not be
applied after a newer one.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import stripe
from django.db import connection, transaction
from django.utils import timezone

from aggregator.ledger.errors import Outage, classified
from commerce.billing import prices, subscriptions
from commerce.billing.prices import PriceTerms
from commerce.billing.stripe_client import api_client, stripe_is_configured
from commerce.models import Customer, Plan, Subscription

logger = logging.getLogger("signal_hub.billing")

GRACE_PERIOD = timedelta(days=7)
"""How long a subscription whose payment failed still gives rights: Stripe's retries take about as long."""

RENEWAL_DELAY = timedelta(hours=1)
"""Stripe tries a renewal's payment about an hour after its period began."""

SUBSCRIPTION_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"

State = Subscription.State
STRIPE_STATES = {
    "trialing": State.TRIALING,
    "active": State.ACTIVE,
    "past_due": State.PAST_DUE,
    "canceled": State.CANCELLED,
    "incomplete_expired": State.CANCELLED,
    "unpaid": State.EXPIRED,
    "paused": State.EXPIRED,
}
"""Stripe's states in ours. One that is `incomplete` awaits its first payment: it is not there yet.
What is cancelled is over at Stripe; what is expired may come back when its invoice is paid."""


class NoMatchingPlan(Exception):
    """The event cannot be applied until an operator mends something; Stripe sends it again."""


def refresh_subscription(subscription_id: str) -> str:
    """Make a subscription of ours like Stripe's without an event: one may have been lost.

    Raises NotUnderstood, NoStripe or stripe.StripeError.
    """
    with subscription_lock(subscription_id):
        return sync_subscription(subscription_id, timezone.now())


def refresh_overdue_subscriptions() -> int:
    """Ask Stripe about what should have been renewed by now; return how many were. An event may be lost."""
    if not stripe_is_configured():
        return 0
    overdue = Subscription.objects.filter(
        state__in=Subscription.LIVE,
        stripe_subscription_id__isnull=False,
        period_ends_at__lt=timezone.now() - RENEWAL_DELAY,
    )
    refreshed = 0
    for subscription in overdue:
        number = str(subscription.stripe_subscription_id)
        try:
            with classified():
                refresh_subscription(number)
        except (stripe.StripeError, NoMatchingPlan, Outage) as error:
            logger.warning("stripe subscription=%s is not known now: %s", number, error)
        else:
            refreshed += 1
    return refreshed


def has_open_subscription(customer: Customer) -> bool:
    """Tell whether a subscription of the customer's is not over at Stripe, also one that gives no rights now.

    Buying another beside it would be paying twice. Raises as `refresh`.
    """
    for number in _open_ids(customer):
        try:
            refresh_subscription(number)
        except stripe.InvalidRequestError as error:
            if error.code != "resource_missing":  # as of Stripe's test mode, after going live
                raise
            now = timezone.now()
            gone = Subscription.objects.filter(stripe_subscription_id=number)
            gone.update(state=State.CANCELLED, cancelled_at=now, ends_at=now)
    return bool(_open_ids(customer))


def _open_ids(customer: Customer) -> list[str]:
    rows = customer.subscriptions.filter(stripe_subscription_id__isnull=False)
    return [str(row.stripe_subscription_id) for row in rows.exclude(state=State.CANCELLED)]


@contextmanager
def subscription_lock(name: str) -> Iterator[None]:
    """Put all that is done about a subscription in a row, each in a transaction."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SUBSCRIPTION_LOCK, [f"stripe:{name}"])
        yield


def sync_subscription(subscription_id: str, told_at: datetime) -> str:
    """Ask Stripe for a subscription and make ours like it, within `one_at_a_time`; return what came of it.

    Raises as `refresh`.
    """
    fetched = api_client().v1.subscriptions.retrieve(subscription_id).to_dict()
    state = STRIPE_STATES.get(fetched["status"])
    if state is None:
        return f"{fetched['status']}: nothing yet"
    customer = _customer(fetched)
    if customer is None:
        return "no customer of ours"
    Customer.objects.select_for_update().get(pk=customer.pk)
    ours = Subscription.objects.filter(stripe_subscription_id=subscription_id).first()
    if ours is None:
        ours = Subscription(customer=customer, stripe_subscription_id=subscription_id)
    if state in Subscription.LIVE and (other := _other_paid_subscription(ours)):
        logger.error(
            "customer=%d pays for two subscriptions at Stripe, of which one has to be ended there: %s, %s",
            customer.pk,
            subscription_id,
            other.stripe_subscription_id,
        )
        if other.started_at > (from_timestamp(fetched.get("start_date")) or timezone.now()):
            return "a newer subscription is live"
    is_new = ours._state.adding
    if is_new and fetched["status"] == "incomplete_expired":
        return "never paid"
    before = "none" if is_new else ours.state
    _apply(ours, fetched, state, told_at)
    return f"{before} → {ours.state}"


def _apply(ours: Subscription, fetched: Mapping[str, Any], state: State, told_at: datetime) -> None:
    now = timezone.now()
    terms = prices.subscription_terms(fetched)
    ours.plan = _plan(fetched, terms, ours)
    ended_at = ours.ends_at if ours.pk and ours.state not in Subscription.LIVE else None
    ours.grace_until = (ours.grace_until or now + GRACE_PERIOD) if state == State.PAST_DUE else None
    if ours.grace_until and ours.grace_until <= now:
        state = State.EXPIRED
    ours.state = state
    ours.started_at = from_timestamp(fetched.get("start_date")) or now
    ours.period_ends_at = _period_end(fetched)
    ours.cancelled_at = from_timestamp(fetched.get("canceled_at"))
    ours.ends_at = from_timestamp(fetched.get("ended_at")) or from_timestamp(fetched.get("cancel_at"))
    if ours.ends_at is None and fetched.get("cancel_at_period_end"):
        ours.ends_at = ours.period_ends_at
    if state not in Subscription.LIVE:
        ours.ends_at = ended_at or ours.ends_at
    ours.stripe_event_at = max(told_at, ours.stripe_event_at or told_at)
    if state in Subscription.LIVE:
        subscriptions.cancel_live(ours.customer, now, keep=ours.pk)
    ours.save()
    since = max(from_timestamp(fetched.get("trial_end")) or ours.started_at, ours.started_at)
    _record_price(ours, terms, since, told_at, ended_at if state in Subscription.LIVE else None)


def _record_price(
    ours: Subscription, terms: PriceTerms, since: datetime, told_at: datetime, gap_from: datetime | None
) -> None:
    """Keep what it costs where that changed: from `since` on if it is new, else from when it was told."""
    last = ours.prices.last()
    values = {
        "plan": ours.plan,
        "price": terms.price,
        "currency": terms.currency,
        "interval": terms.interval,
        "stripe_price_id": terms.price_ids[0],
    }
    if last and gap_from and gap_from > last.since:  # it was over, and came back
        last = ours.prices.create(**values | {"price": 0, "since": gap_from})
    if last and last.since > told_at:  # still in the trial
        ours.prices.filter(pk=last.pk).update(**values, since=since)
    elif last is None or any(getattr(last, name) != value for name, value in values.items()):
        ours.prices.create(**values, since=max(since, told_at) if last else since)


def _other_paid_subscription(ours: Subscription) -> Subscription | None:
    """Return another subscription of the customer's that is paid at Stripe."""
    rows = ours.customer.subscriptions.filter(
        state__in=Subscription.LIVE, stripe_subscription_id__isnull=False
    )
    return rows.exclude(pk=ours.pk).first()


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


def _plan(fetched: Mapping[str, Any], terms: PriceTerms, ours: Subscription) -> Plan:
    """Return the plan that is paid for. Raises NotUnderstood.

    It is the plan that has the price; else, while the price stays what it was, the plan stays; else, for one
    that is new here, what checkout noted: later the customer may have changed to another plan at Stripe.
    """
    plan = Plan.objects.filter(stripe_price_id__in=terms.price_ids).first()
    last = ours.prices.exclude(stripe_price_id="").last() if ours.pk else None
    if plan is None and last and last.stripe_price_id in terms.price_ids:
        plan = last.plan
    if plan is None and last is None:
        plan = Plan.objects.filter(slug=(fetched.get("metadata") or {}).get("plan", "")).first()
    if plan is None:
        raise NoMatchingPlan(f"no plan has the Stripe price {', '.join(terms.price_ids)}")
    return plan


def _period_end(fetched: Mapping[str, Any]) -> datetime | None:
    """Return when the paid period ends; since March 2025 each item has its own."""
    ends = [item.get("current_period_end") for item in fetched["items"]["data"]]
    return from_timestamp(
        max((end for end in ends if end), default=None) or fetched.get("current_period_end")
    )


def from_timestamp(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
