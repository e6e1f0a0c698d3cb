"""Forgets old messages, so that the tables do not grow for ever."""

import time
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from commerce.models import Endpoint, Message

AT_A_TIME = 5000
TIMEOUT_S = 5.0
"""How long one run takes at most; what is left then is for the next."""


def delete_old_messages() -> int:
    """Delete old messages that wait for nothing, with their attempts; return how many.

    Any number of workers may be at it.
    """
    until = time.monotonic() + TIMEOUT_S
    kept_for = timedelta(days=settings.ENVIRONMENT.delivery_days)
    old = Message.objects.filter(created_at__lt=timezone.now() - kept_for)
    orphaned = ~Exists(Endpoint.objects.filter(pk=OuterRef("endpoint_id")))
    done = old.filter(~Q(state=Message.State.WAITING) | orphaned).values_list("pk", flat=True)
    pruned = 0
    while time.monotonic() < until:
        with transaction.atomic():
            batch = list(done.select_for_update(skip_locked=True)[:AT_A_TIME])
            if not batch:
                break
            pruned += Message.objects.filter(pk__in=batch).delete()[1].get("commerce.Message", 0)
    return pruned
