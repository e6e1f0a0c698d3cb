"""What customers do with their endpoints: create, test, rotate, pause, resume, replay."""

import secrets
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Least, Now
from django.utils import timezone

from aggregator import followers
from aggregator.http import ssrf
from aggregator.http.problems import Problem
from aggregator.models import FollowerCursor
from commerce import ledger_window
from commerce.entitlements import Entitlement
from commerce.ledger_window import Place
from commerce.models import Customer, Endpoint, Message
from commerce.webhooks import chats, message_bodies
from commerce.webhooks.attempts import CLAIM_TIMEOUT
from commerce.webhooks.signing_secrets import encrypt_address, known_address, signing_secret

OVERLAP = timedelta(hours=24)
"""How long after a rotation the previous secret signs as well."""


def create(
    rights: Entitlement,
    channel: str,
    address: str,
    *,
    description: str = "",
    after: int | None = None,
    ecosystems: Iterable[str] = (),
    outcomes: bool | None = None,
) -> tuple[Endpoint, str | None]:
    """Create an endpoint that follows the ledger, and what is decided of its calls, from `after` or now on.

    It gets outcomes, too, if `outcomes` says so; where it is None, a webhook does and a chat does not.

    Returns it with the signing secret of a webhook, which is shown this once. Raises Problem 400 for an
    address that the hub does not send to, 409 for what contradicts the plan or another endpoint.
    """
    if not rights.webhooks:
        raise Problem(409, "too_many_endpoints", "Push endpoints are not included.")
    label = check_address(channel, address)
    restriction = sorted(ecosystems)
    delay = rights.scope.delay
    place = ledger_window.frontiers([delay])[delay]
    if after is not None:
        position = min(after, place.position)
        place = Place(position, ledger_window.decided_by(position))
    with transaction.atomic():
        # Two requests at once must not exceed the plan together: the customer's row orders them.
        customer = Customer.objects.select_for_update().get(pk=rights.customer_id)
        if channel == Endpoint.Channel.EMAIL and address.lower() != customer.email.lower():
            raise Problem(400, "bad_address", "E-mail goes to the customer's own address.")
        if customer.endpoints.count() >= rights.webhooks:
            raise Problem(409, "too_many_endpoints", f"The plan allows {rights.webhooks} push endpoints.")
        same = customer.endpoints.filter(channel=channel, ecosystems=restriction)
        if address in map(known_address, same):
            raise Problem(409, "duplicate_endpoint", "There is an endpoint with this address already.")
        endpoint = Endpoint(
            customer=customer,
            channel=channel,
            encrypted_address=encrypt_address(address),
            label=label[:255],
            description=description,
            ecosystems=restriction,
            outcomes=channel == Endpoint.Channel.WEBHOOK if outcomes is None else outcomes,
        )
        endpoint.cursor_id = f"{Endpoint.CURSOR_PREFIX}{endpoint.public_id}"
        followers.create(endpoint.cursor_id, place.position)
        endpoint.outcomes_to = place.decided
        endpoint.save()
    return endpoint, signing_secret(endpoint) if channel == Endpoint.Channel.WEBHOOK else None


def check_address(channel: str, address: str) -> str:
    """Return the label of an address. Raises Problem 400 for one that the hub does not send to."""
    if channel != Endpoint.Channel.WEBHOOK:
        return chats.label(channel, address)
    try:
        target = ssrf.guard().check(address)
    except ssrf.Refused as refused:
        raise Problem(400, refused.code, str(refused)) from None
    except ssrf.Unresolved:
        raise Problem(400, "unresolved", "The URL's host has no address.") from None
    return f"{target.scheme}://{target.host}{'' if target.port in {80, 443} else f':{target.port}'}/…"


def follow_address(customer: Customer) -> None:
    """Send a customer's e-mails to the address that the customer has now."""
    mails = customer.endpoints.filter(channel=Endpoint.Channel.EMAIL)
    mails.update(encrypted_address=encrypt_address(customer.email), label=customer.email)


def rotate(endpoint: Endpoint, overlap: timedelta = OVERLAP) -> str:
    """Return a new signing secret, shown this once; for `overlap` requests are signed with both."""
    Endpoint.objects.filter(pk=endpoint.pk).update(
        generation=F("generation") + 1, previous_until=timezone.now() + overlap
    )
    endpoint.refresh_from_db()
    return signing_secret(endpoint)


def set_paused(endpoint: Endpoint, paused: bool) -> None:
    """Pause an endpoint, or resume a paused or disabled one where it stopped."""
    now = timezone.now()
    if paused:
        Endpoint.objects.filter(pk=endpoint.pk, state=Endpoint.State.ACTIVE).update(
            state=Endpoint.State.PAUSED, state_at=now
        )
    else:
        # An attempt may still be under way, which keeps the endpoint; a rest after a failure may be longer.
        Endpoint.objects.filter(pk=endpoint.pk).exclude(state=Endpoint.State.ACTIVE).update(
            state=Endpoint.State.ACTIVE,
            state_at=now,
            reason="",
            notify_at=None,
            failing_since=None,
            free_at=Least("free_at", Now() + CLAIM_TIMEOUT),
        )
    endpoint.refresh_from_db()


def send_test(endpoint: Endpoint) -> Message:
    """Create a test message; its attempts are in the list of messages."""
    subject = f"test\0{secrets.token_hex(16)}"
    return endpoint.messages.create(message_id=message_bodies.message_id(endpoint, subject))


def replay(endpoint: Endpoint, after: int) -> None:
    """Send everything entitled behind position `after` again, with the same message ids as before.

    What was decided of calls, too. No cursor goes forward: that would skip.
    """
    with transaction.atomic():
        cursors = FollowerCursor.objects.filter(pk=endpoint.cursor_id)
        cursors.update(position=Least("position", Value(after)))
        decided = Least("outcomes_to", Value(ledger_window.decided_by(after)))
        Endpoint.objects.filter(pk=endpoint.pk).update(outcomes_to=decided)
    endpoint.refresh_from_db()
