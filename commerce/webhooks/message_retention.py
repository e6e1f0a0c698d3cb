"""Deletes old messages, so that the tables do not grow for ever."""

import time
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from aggregator.models import FollowerCursor
from commerce.models import Endpoint, Message

MAX_DELETED_AT_ONCE = 5000
DELETE_TIMEOUT_S = 20.0


def delete_old_messages() -> int:
    """Delete old messages that are finished, with their attempts; return how many.

    Those of deleted endpoints go even if they wait, and those endpoints' cursors with them. Any number of
    workers may do it at once; each ends after DELETE_TIMEOUT_S, and the next call goes on.
    """
    FollowerCursor.objects.filter(name__startswith=Endpoint.CURSOR_PREFIX, endpoint=None).delete()
    until = time.monotonic() + DELETE_TIMEOUT_S
    kept_for = timedelta(days=settings.ENVIRONMENT.delivery_days)
    old = Message.objects.filter(created_at__lt=timezone.now() - kept_for)
    orphaned = ~Exists(Endpoint.objects.filter(pk=OuterRef("endpoint_id")))
    finished = old.filter(~Q(state=Message.State.WAITING) | orphaned).values_list("pk", flat=True)
    deleted = 0
    while time.monotonic() < until:
        with transaction.atomic():
            batch = list(finished.select_for_update(skip_locked=True)[:MAX_DELETED_AT_ONCE])
            if not batch:
                break
            deleted += Message.objects.filter(pk__in=batch).delete()[1].get("commerce.Message", 0)
    return deleted
