"""Links that end the signals of an e-mail endpoint, also by a mail program's own button (RFC 8058)."""

from django.conf import settings
from django.core import signing
from django.urls import reverse
from django.utils import timezone

from commerce.models import Endpoint

UNSUBSCRIBE_SALT = "commerce.unsubscribe"
REASON = "Unsubscribed by the link in an e-mail."


def unsubscribe_url(endpoint: Endpoint) -> str:
    """Return the link for an endpoint's mails, "" on a hub without a public address."""
    if not settings.PUBLIC_ORIGIN:
        return ""
    token = signing.dumps(endpoint.public_id, salt=UNSUBSCRIBE_SALT)
    return settings.PUBLIC_ORIGIN + reverse("shop:unsubscribe", args=[token])


def endpoint_of(token: str) -> Endpoint | None:
    """Return the endpoint that a link is about, None if it is gone or the link is not ours."""
    try:
        public_id = signing.loads(token, salt=UNSUBSCRIBE_SALT)
    except signing.BadSignature:
        return None
    return Endpoint.objects.filter(public_id=public_id).first()


def stop_mails(endpoint: Endpoint) -> None:
    """Disable an endpoint; its customer can resume it."""
    Endpoint.objects.filter(pk=endpoint.pk, state=Endpoint.State.ACTIVE).update(
        state=Endpoint.State.DISABLED, reason=REASON, state_at=timezone.now()
    )
