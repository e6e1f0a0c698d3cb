"""Periodic work of commerce, run by Celery."""

import threading
from datetime import timedelta
from functools import lru_cache

from celery import shared_task
from django.utils import timezone

from aggregator.verdicts import Outage
from commerce.deliveries.worker import Deliverer
from commerce.models import Delivery

DELIVERIES_KEPT_FOR = timedelta(days=30)
PRUNED_AT_A_TIME = 5000

_turn = threading.Lock()


@lru_cache(maxsize=1)
def _deliverer() -> Deliverer:
    """Return this process's deliverer: its threads outlive the task, so a slow endpoint holds up no task."""
    return Deliverer()


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
def prune_deliveries() -> int:
    """Forget deliveries that were settled long ago, with their attempts; return how many."""
    old = Delivery.objects.filter(created_at__lt=timezone.now() - DELIVERIES_KEPT_FOR)
    settled = old.exclude(state=Delivery.State.WAITING).values("pk")
    pruned = 0
    while batch := [row["pk"] for row in settled[:PRUNED_AT_A_TIME]]:
        pruned += Delivery.objects.filter(pk__in=batch).delete()[1].get("commerce.Delivery", 0)
    return pruned
