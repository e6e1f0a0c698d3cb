"""Periodic work of commerce, run by Celery."""

import logging
import threading
from datetime import timedelta
from functools import lru_cache

import stripe
from celery import shared_task
from celery.signals import worker_process_shutdown, worker_shutting_down
from django.utils import timezone

from aggregator.ledger.errors import Outage, classified
from commerce.billing import stripe_sync, subscriptions
from commerce.billing.stripe_client import stripe_is_configured
from commerce.feed import listing
from commerce.models import Subscription
from commerce.webhooks.dispatcher import Dispatcher

ROLLED_UP_AT_A_TIME = 10
RENEWED_WITHIN = timedelta(hours=1)
"""Stripe tries a renewal's payment about an hour after its period began."""

logger = logging.getLogger("signal_hub.billing")

_turn = threading.Lock()


@lru_cache(maxsize=1)
def _deliverer() -> Dispatcher:
    """Return this process's deliverer: its threads outlive the task, so a slow endpoint holds up no task."""
    return Dispatcher()


@worker_shutting_down.connect
@worker_process_shutdown.connect
def stop_delivering(**_: object) -> None:
    """End turns after the request under way: a worker that stops would else wait for a whole backlog."""
    if _deliverer.cache_info().currsize:
        _deliverer().stop.set()


@shared_task(ignore_result=True)
def deliver_webhooks() -> None:
    """Start the deliveries that are due; what is still under way goes on in threads of its own."""
    if not _turn.acquire(blocking=False):
        return
    try:
        _deliverer().run_once(wait=True)
    except Outage:
        pass  # nothing was lost; the next turn tries again
    finally:
        _turn.release()


@shared_task(ignore_result=True)
def note_ledger() -> None:
    """Roll up which series the ledger holds."""
    try:
        with classified():
            listing.roll_up(ROLLED_UP_AT_A_TIME)
    except Outage:
        pass  # delayed plans wait; the next turn tries again


@shared_task(ignore_result=True)
def expire_subscriptions() -> int:
    """Note which subscriptions came to their end; return how many."""
    return subscriptions.expire_ended(timezone.now())


@shared_task(ignore_result=True)
def refresh_subscriptions() -> int:
    """Ask Stripe about what should have been renewed by now; return how many were. An event may be lost."""
    if not stripe_is_configured():
        return 0
    overdue = Subscription.objects.filter(
        state__in=Subscription.LIVE,
        stripe_subscription_id__isnull=False,
        period_ends_at__lt=timezone.now() - RENEWED_WITHIN,
    )
    asked = 0
    for subscription in overdue:
        number = str(subscription.stripe_subscription_id)
        try:
            with classified():
                stripe_sync.refresh_subscription(number)
        except (stripe.StripeError, stripe_sync.NoMatchingPlan, Outage) as error:
            logger.warning("stripe subscription=%s is not known now: %s", number, error)
        else:
            asked += 1
    return asked
