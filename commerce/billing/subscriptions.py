"""Starting and ending subscriptions."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, F, Q, When
from django.db.models.functions import Least
from django.utils import timezone

from commerce.models import Customer, Plan, Subscription


def start_subscription(
    customer: Customer,
    plan: Plan,
    *,
    state: Subscription.State = Subscription.State.ACTIVE,
    ends_at: datetime | None = None,
) -> Subscription:
    """Subscribe `customer` to `plan` from now on, in place of the live subscription."""
    now = timezone.now()
    with transaction.atomic():
        cancel_live(customer, now)
        return Subscription.objects.create(
            customer=customer, plan=plan, state=state, started_at=now, ends_at=ends_at
        )


def cancel_live(customer: Customer, now: datetime, keep: int | None = None) -> int:
    """Cancel a customer's live subscriptions except `keep`, and lock the customer; return how many."""
    Customer.objects.select_for_update().get(pk=customer.pk)
    others = Subscription.objects.filter(customer=customer, state__in=Subscription.LIVE)
    if keep is not None:
        others = others.exclude(pk=keep)
    return others.update(state=Subscription.State.CANCELLED, cancelled_at=now, ends_at=now)


def start_trial_or_free(customer: Customer, plan: Plan) -> Subscription | None:
    """Start a plan without payment: a free one, or the trial of a customer's first subscription.

    Returns None if the plan has to be paid first.
    """
    if plan.price == 0:
        return start_subscription(customer, plan)
    if plan.trial_days and not customer.subscriptions.exists():
        ends_at = timezone.now() + timedelta(days=plan.trial_days)
        return start_subscription(customer, plan, state=Subscription.State.TRIALING, ends_at=ends_at)
    return None


def expire_subscriptions() -> int:
    """Expire subscriptions at their end, past due ones at the end of their grace period; return how many."""
    now = timezone.now()
    over = Q(state__in=Subscription.LIVE, ends_at__lte=now) | Q(
        state=Subscription.State.PAST_DUE, grace_until__lte=now
    )
    ended_at = Case(
        When(state=Subscription.State.PAST_DUE, then=Least("ends_at", "grace_until")), default=F("ends_at")
    )  # Postgres ignores a null here
    return Subscription.objects.filter(over).update(state=Subscription.State.EXPIRED, ends_at=ended_at)
