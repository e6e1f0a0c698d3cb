"""E-mails to the owners of endpoints that were disabled."""

import logging
from datetime import timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models.functions import Now
from django.template.loader import render_to_string

from aggregator.postgres.pool import release_connections
from commerce.models import Endpoint

logger = logging.getLogger("signal_hub.webhooks")

RETRY_INTERVAL = timedelta(minutes=5)
"""When a mail is sent again that failed, or whose worker was killed."""


def send_due() -> int:
    """Send the notifications that are due and return how many; the first that fails ends it."""
    sent = 0
    while endpoint := _claim():
        if not _send(endpoint):
            break
        sent += 1
    return sent


def _claim() -> Endpoint | None:
    """Return an endpoint whose owner is to be notified, by this process alone until RETRY_INTERVAL is over.

    Not by a lock, which would hold a transaction open while a mail server takes its time.
    """
    with transaction.atomic():
        due = Endpoint.objects.filter(notify_at__lte=Now()).with_clock()
        endpoint = due.select_for_update(skip_locked=True, of=("self",)).select_related("customer").first()
        if endpoint is not None:
            endpoint.notify_at = endpoint.now + RETRY_INTERVAL
            endpoint.save(update_fields=["notify_at"])
        return endpoint


def _send(endpoint: Endpoint) -> bool:
    """Send a notification; one that fails or is cut off stays due, and may come twice."""
    text = render_to_string("commerce/email/endpoint_disabled.txt", {"endpoint": endpoint})
    subject = f"Signals to {endpoint.label} have stopped"
    release_connections()  # the mail server may take its time
    try:
        send_mail(subject, text, settings.DEFAULT_FROM_EMAIL, [endpoint.customer.email])
    except (OSError, UnicodeError) as error:  # the latter where no host can have such a name
        logger.warning("no notification for endpoint=%s: %s", endpoint.public_id, type(error).__name__)
        return False
    Endpoint.objects.filter(pk=endpoint.pk, notify_at=endpoint.notify_at).update(notify_at=None)
    return True
