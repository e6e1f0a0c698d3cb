"""Synchronization of subscriptions with Stripe.

Each subscription is updated under a lock of its own: an outdated response of Stripe must not be applied after
a newer one.
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
"""How long a subscription grants access after a failed payment: about as long as Stripe retries."""

RENEWAL_DELAY = timedelta(hours=1)
"""Stripe tries a renewal's payment about an hour after its period began."""

SUBSCRIPTION_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"

STRIPE_STATES = {
    "trialing": Subscription.State.TRIALING,
    "active": Subscription.State.ACTIVE,
    "past_due": Subscription.State.PAST_DUE,
    "canceled": Subscription.State.CANCELLED,
    "incomplete_expired": Subscription.State.CANCELLED,
    "unpaid": Subscription.State.EXPIRED,
    "paused": Subscription.State.EXPIRED,
}
"""Our state for each of Stripe's. An `incomplete` subscription awaits its first payment and is not stored.
A cancelled one has ended at Stripe; an expired one resumes when its invoice is paid."""


class NoMatchingPlan(Exception):
    """No plan has the price of a subscription. Stripe retries the event until an operator adds one."""


def refresh_subscription(subscription_id: str) -> str:
    """Synchronize a subscription without an event, since one may have been lost; return the outcome.

    Raises NoMatchingPlan or stripe.StripeError.
    """
    with subscription_lock(subscription_id):
        return sync_subscription(subscription_id, timezone.now())


def refresh_overdue_subscriptions() -> int:
    """Refresh subscriptions whose renewal is overdue, since an event may be lost; return how many."""
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
            logger.warning("could not refresh stripe subscription=%s: %s", number, error)
        else:
            refreshed += 1
    return refreshed


def has_open_subscription(customer: Customer) -> bool:
    """Return whether the customer has a subscription that has not ended at Stripe, even without access now.

    Another one beside it would be billed too. Raises the same errors as `refresh_subscription`.
    """
    for subscription_id in _open_ids(customer):
        try:
            refresh_subscription(subscription_id)
        except stripe.InvalidRequestError as error:
            if error.code != "resource_missing":  # such as one of the test mode, after going live
                raise
            now = timezone.now()
            gone = Subscription.objects.filter(stripe_subscription_id=subscription_id)
            gone.update(state=Subscription.State.CANCELLED, cancelled_at=now, ends_at=now)
    return bool(_open_ids(customer))


def _open_ids(customer: Customer) -> list[str]:
    rows = customer.subscriptions.filter(stripe_subscription_id__isnull=False)
    return [str(row.stripe_subscription_id) for row in rows.exclude(state=Subscription.State.CANCELLED)]


@contextmanager
def subscription_lock(name: str) -> Iterator[None]:
    """Hold the lock of a subscription for one transaction."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SUBSCRIPTION_LOCK, [f"stripe:{name}"])
        yield


def sync_subscription(subscription_id: str, observed_at: datetime) -> str:
    """Update our copy of a subscription from Stripe, within `subscription_lock`; return the outcome.

    Raises the same errors as `refresh_subscription`.
    """
    fetched = api_client().v1.subscriptions.retrieve(subscription_id).to_dict()
    state = STRIPE_STATES.get(fetched["status"])
    if state is None:
        return f"ignored: {fetched['status']}"
    customer = _customer(fetched)
    if customer is None:
        return "ignored: unknown customer"
    Customer.objects.select_for_update().get(pk=customer.pk)
    ours = Subscription.objects.filter(stripe_subscription_id=subscription_id).first()
    if ours is None:
        ours = Subscription(customer=customer, stripe_subscription_id=subscription_id)
    paid = customer.subscriptions.filter(state__in=Subscription.LIVE, stripe_subscription_id__isnull=False)
    if state in Subscription.LIVE and (other := paid.exclude(pk=ours.pk).first()):
        logger.error(
            "customer=%d pays for two subscriptions at Stripe, cancel one of them there: %s, %s",
            customer.pk,
            subscription_id,
            other.stripe_subscription_id,
        )
        if other.started_at > (from_timestamp(fetched.get("start_date")) or timezone.now()):
            return "ignored: a newer subscription is live"
    is_new = ours._state.adding
    if is_new and fetched["status"] == "incomplete_expired":
        return "ignored: never paid"
    before = "none" if is_new else ours.state
    _apply(ours, fetched, state, observed_at)
    return f"{before} → {ours.state}"


def _apply(
    ours: Subscription, fetched: Mapping[str, Any], state: Subscription.State, observed_at: datetime
) -> None:
    now = timezone.now()
    terms = prices.subscription_terms(fetched)
    ours.plan = _plan(fetched, terms, ours)
    ended_at = ours.ends_at if ours.pk and ours.state not in Subscription.LIVE else None
    ours.grace_until = (
        (ours.grace_until or now + GRACE_PERIOD) if state == Subscription.State.PAST_DUE else None
    )
    if ours.grace_until and ours.grace_until <= now:
        state = Subscription.State.EXPIRED
    ours.state = state
    ours.started_at = from_timestamp(fetched.get("start_date")) or now
    ours.period_ends_at = _period_end(fetched)
    ours.cancelled_at = from_timestamp(fetched.get("canceled_at"))
    ours.ends_at = from_timestamp(fetched.get("ended_at")) or from_timestamp(fetched.get("cancel_at"))
    if ours.ends_at is None and fetched.get("cancel_at_period_end"):
        ours.ends_at = ours.period_ends_at
    if state not in Subscription.LIVE:
        ours.ends_at = ended_at or ours.ends_at
    ours.stripe_event_at = max(observed_at, ours.stripe_event_at or observed_at)
    if state in Subscription.LIVE:
        subscriptions.cancel_live(ours.customer, now, keep=ours.pk)
    ours.save()
    since = max(from_timestamp(fetched.get("trial_end")) or ours.started_at, ours.started_at)
    _record_price(ours, terms, since, observed_at, ended_at if state in Subscription.LIVE else None)


def _record_price(
    ours: Subscription, terms: PriceTerms, since: datetime, observed_at: datetime, gap_from: datetime | None
) -> None:
    """Store a changed price: from `since` on for a new subscription, else from `observed_at` on."""
    last = ours.prices.last()
    values = {
        "plan": ours.plan,
        "price": terms.price,
        "currency": terms.currency,
        "interval": terms.interval,
        "stripe_price_id": terms.price_ids[0],
    }
    if last and gap_from and gap_from > last.since:  # it had ended and resumed
        last = ours.prices.create(**values | {"price": 0, "since": gap_from})
    if last and last.since > observed_at:  # still in the trial
        ours.prices.filter(pk=last.pk).update(**values, since=since)
    elif last is None or any(getattr(last, name) != value for name, value in values.items()):
        ours.prices.create(**values, since=max(since, observed_at) if last else since)


def _customer(fetched: Mapping[str, Any]) -> Customer | None:
    """Return the customer of a subscription, and store their id at Stripe."""
    number = str((fetched.get("metadata") or {}).get("customer", ""))
    known = Customer.objects.filter(stripe_customer_id=fetched["customer"]).first()
    if known is None and number.isascii() and number.isdigit():
        known = Customer.objects.filter(pk=int(number[:18])).first()
        if known:
            known.stripe_customer_id = fetched["customer"]
            known.save(update_fields=["stripe_customer_id"])
    return known


def _plan(fetched: Mapping[str, Any], terms: PriceTerms, ours: Subscription) -> Plan:
    """Return the plan of a subscription. Raises NoMatchingPlan.

    It is the plan with its price; else, if the price has not changed, the present plan; else, for a new
    subscription, the plan in the metadata of its checkout: later the customer may change plans at Stripe.
    """
    plan = Plan.objects.filter(stripe_price_id__in=terms.price_ids).first()
    last = ours.prices.exclude(stripe_price_id="").last() if ours.pk else None
    if plan is None and last and last.stripe_price_id in terms.price_ids:
        plan = last.plan
    if plan is None and last is None:
        plan = Plan.objects.filter(slug=(fetched.get("metadata") or {}).get("plan", "")).first()
    if plan is None:
        raise NoMatchingPlan(f"no plan has Stripe price {', '.join(terms.price_ids)}")
    return plan


def _period_end(fetched: Mapping[str, Any]) -> datetime | None:
    """Return the end of the paid period; since March 2025 each item has its own."""
    ends = [item.get("current_period_end") for item in fetched["items"]["data"]]
    return from_timestamp(
        max((end for end in ends if end), default=None) or fetched.get("current_period_end")
    )


def from_timestamp(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
