"""From the ledger to messages: what an endpoint is entitled to and has not been promised yet."""

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from commerce import feed, usage
from commerce.entitlements import Entitlement, entitlement
from commerce.models import Endpoint, Message, Subscription
from commerce.webhooks.messages import signal_message_id

BATCH = 50
"""Signals planned at a time: what is left of them when an endpoint is paused waits for it."""
MOST_WAITING = 200
"""Deliveries of an endpoint that may wait at once. The rest waits in the ledger, where it is safe."""
LOOK_AGAIN = timedelta(seconds=1)
HELD_LOOK_AGAIN = timedelta(minutes=1)
"""Where no subscription is live, or the day is used up: either may change at any time."""

State = Message.State


def rights_of(endpoint: Endpoint, now: datetime) -> Entitlement | None:
    """Return what the endpoint may be sent now, asked anew each time.

    None where no subscription is live, or where it has room for the endpoints before this one only.
    """
    live = Subscription.objects.entitling(now).filter(customer_id=endpoint.customer_id).first()
    if live is None:
        return None
    rights = entitlement(live)
    if (
        Endpoint.objects.filter(customer_id=endpoint.customer_id, pk__lt=endpoint.pk).count()
        >= rights.webhooks
    ):
        return None
    return rights.within(endpoint.ecosystems) if endpoint.ecosystems else rights


def plan(endpoint_id: int) -> bool:
    """Make messages of the next signals of an endpoint; return whether that led anywhere.

    The endpoint moves on in the transaction that makes its messages, so none is skipped and none is made
    twice, whoever is killed when.
    """
    now = timezone.now()
    with transaction.atomic():
        endpoint = Endpoint.objects.select_for_update().filter(pk=endpoint_id).first()
        if endpoint is None or endpoint.plan_at > now:
            return False
        rights = rights_of(endpoint, now)
        if rights is None:
            return _look_again(endpoint, now + HELD_LOOK_AGAIN)
        room = MOST_WAITING - endpoint.messages.filter(state=State.WAITING).count()
        if room <= 0:
            return _look_again(endpoint, now + LOOK_AGAIN)
        page = feed.read(rights.scope, feed.NO_FILTERS, endpoint.position, min(BATCH, room))
        granted = usage.count_signals(rights.customer_id, len(page.signals), rights.signals_per_day)
        if page.signals and not granted:
            return _look_again(endpoint, now + HELD_LOOK_AGAIN)
        page = page.cut(granted)
        _create(endpoint, page, now)
        endpoint.position = page.position
        if not page.has_more and rights.scope.delay:
            # The head of the ledger would wake it all the time; without a delay it has reached the head.
            endpoint.plan_at = now + LOOK_AGAIN
        endpoint.save(update_fields=["position", "plan_at"])
        return bool(page.signals) or page.has_more


def _look_again(endpoint: Endpoint, at: datetime) -> bool:
    endpoint.plan_at = at
    endpoint.save(update_fields=["plan_at"])
    return False


def _create(endpoint: Endpoint, page: feed.Page, now: datetime) -> None:
    """Insert messages; those that a replay finds again start anew under their old message ids."""
    Message.objects.bulk_create(
        [
            Message(
                endpoint=endpoint,
                message_id=signal_message_id(endpoint, signal),
                signal=signal,
                position=signal.position,
                state=State.WAITING,
                due_at=now,
                created_at=now,
            )
            for signal in page.signals
        ],
        update_conflicts=True,
        unique_fields=["endpoint", "message_id"],
        update_fields=["state", "attempt_count", "due_at", "finished_at"],
    )
