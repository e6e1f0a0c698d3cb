"""Tells the owner of an endpoint, by e-mail, that it was disabled."""

import logging

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

from commerce.models import Endpoint

logger = logging.getLogger("signal_hub.deliveries")

MOST = 10
"""Notices in one go."""


def send() -> int:
    """Send what is owed; return how many. A mail that fails stays owed."""
    owed = Endpoint.objects.filter(notify=True).select_related("customer")[:MOST]
    return sum(_send(endpoint) for endpoint in owed)


def _send(endpoint: Endpoint) -> bool:
    if not Endpoint.objects.filter(pk=endpoint.pk, notify=True).update(notify=False):
        return False  # another worker is at it
    text = render_to_string("commerce/email/endpoint_disabled.txt", {"endpoint": endpoint})
    try:
        send_mail(
            f"Deliveries to {endpoint.label} have stopped",
            text,
            settings.DEFAULT_FROM_EMAIL,
            [endpoint.customer.email],
        )
    except OSError as error:
        logger.warning("no notice for endpoint=%s: %s", endpoint.public_id, type(error).__name__)
        Endpoint.objects.filter(pk=endpoint.pk).update(notify=True)
        return False
    return True
