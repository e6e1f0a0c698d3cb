"""Tells the owner of an endpoint, by e-mail, that it was disabled."""

import logging

from django.conf import settings
from django.core.mail import send_mail
from django.db import connection, transaction
from django.template.loader import render_to_string

from commerce.models import Endpoint

logger = logging.getLogger("signal_hub.messages")

MOST = 10
"""Notices in one go."""


def send_due() -> int:
    """Send what is owed; return how many. A mail that fails stays owed."""
    owed = Endpoint.objects.filter(notify=True).select_related("customer")[:MOST]
    return sum(_send(endpoint) for endpoint in owed)


# Not the row's lock: its owner may want to resume the endpoint while a mail server takes its time.
TAKE = """
    SELECT 1 FROM endpoints WHERE id = %(id)s AND notify
        AND pg_try_advisory_xact_lock(hashtextextended('endpoint notice ' || %(id)s, 0))"""


def _send(endpoint: Endpoint) -> bool:
    """Send a notice that no other worker is at; one that is cut off stays owed, and may come twice."""
    text = render_to_string("commerce/email/endpoint_disabled.txt", {"endpoint": endpoint})
    subject = f"Deliveries to {endpoint.label} have stopped"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(TAKE, {"id": endpoint.pk})
        if cursor.fetchone() is None:
            return False
        try:
            send_mail(subject, text, settings.DEFAULT_FROM_EMAIL, [endpoint.customer.email])
        except OSError as error:
            logger.warning("no notice for endpoint=%s: %s", endpoint.public_id, type(error).__name__)
            return False
        Endpoint.objects.filter(pk=endpoint.pk).update(notify=False)
    return True
