"""How subscriptions begin and end."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, F, Q, When
from django.db.models.functions import Least
from django.utils import timezone

from commerce.models import Customer, Plan, Subscription

State = Subscription.State


def start_subscription(
    customer: Customer, plan: Plan, *, state: State = State.ACTIVE, ends_at: datetime | None = None
) -> Subscription:
    """Give `customer` a subscription to `plan` from now on, in the place of the one that was live."""
    now = timezone.now()
    with transaction.atomic():
        cancel_live(customer, now)
        return Subscription.objects.create(
            customer=customer, plan=plan, state=state, started_at=now, ends_at=ends_at
        )


def cancel_live(customer: Customer, now: datetime, keep: int | None = None) -> int:
    """Cancel what is live of a customer's, except `keep`; the customer stays locked. Returns how many."""
    Customer.objects.select_for_update().get(pk=customer.pk)
    others = Subscription.objects.filter(customer=customer, state__in=Subscription.LIVE)
    if keep is not None:
        others = others.exclude(pk=keep)
    return others.update(state=State.CANCELLED, cancelled_at=now, ends_at=now)


def start_trial_or_free(customer: Customer, plan: Plan) -> Subscription | None:
    """Start a plan that asks no payment now: a free one, or a trial for who never had a subscription.

    Returns None where the plan has to be paid first.
    """
    if plan.price == 0:
        return start_subscription(customer, plan)
    if plan.trial_days and not customer.subscriptions.exists():
        ends_at = timezone.now() + timedelta(days=plan.trial_days)
        return start_subscription(customer, plan, state=State.TRIALING, ends_at=ends_at)
    return None


def expire_subscriptions() -> int:
    """Mark as expired what has come to its end, also a past due one whose grace is over; return how many."""
    now = timezone.now()
    over = Q(state__in=Subscription.LIVE, ends_at__lte=now) | Q(state=State.PAST_DUE, grace_until__lte=now)
    ended_at = Case(
        When(state=State.PAST_DUE, then=Least("ends_at", "grace_until")), default=F("ends_at")
    )  # of nothing and a date, Postgres takes the date
    return Subscription.objects.filter(over).update(state=State.EXPIRED, ends_at=ended_at)
