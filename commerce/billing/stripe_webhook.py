"""`POST /api/stripe`: receives Stripe's events, which may arrive in any order and repeatedly.

An event only indicates that a subscription may have changed. Its present state is requested from Stripe,
under a lock that serializes the events of one subscription, so that a late event applies the present state
like any other (https://docs.stripe.com/webhooks#event-ordering).
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import stripe
from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from aggregator.http import rate_limits
from aggregator.http.client_address import client_address
from aggregator.http.problems import Problem, unavailable
from aggregator.http.requests import body_length, read_body, require_json
from aggregator.ledger.errors import classified
from commerce.billing.stripe_sync import NoMatchingPlan, subscription_lock, sync_subscription
from commerce.models import StripeEvent

logger = logging.getLogger("signal_hub.billing")

MAX_EVENT_BYTES = 1_048_576
REFUND_EVENTS = ("charge.refunded", "charge.dispute.created")
"""Left to the merchant: at Stripe a subscription continues after a refund and during a dispute."""


class EventPayload(msgspec.Struct, frozen=True):
    """The part of an event that is used here (https://docs.stripe.com/api/events/object)."""

    id: str
    type: str
    created: int
    data: dict[str, Any]


def apply_event(event: EventPayload) -> str:
    """Apply a verified event; return the outcome.

    Raises NoMatchingPlan or stripe.StripeError; nothing is stored then, and Stripe retries.
    """
    subscription_id = _subscription_of(event)
    with subscription_lock(subscription_id or event.id):
        if StripeEvent.objects.filter(event_id=event.id).exists():
            return "already applied"
        created_at = datetime.fromtimestamp(event.created, UTC)
        if subscription_id:
            outcome = sync_subscription(subscription_id, created_at)
        elif event.type in REFUND_EVENTS:
            outcome = "ignored: if the subscription should end, cancel it at Stripe"
            logger.warning("stripe event=%s type=%s outcome=%s", event.id, event.type, outcome)
        else:
            outcome = "ignored"
        StripeEvent.objects.create(
            event_id=event.id,
            type=event.type[:255],
            object_id=subscription_id or str((event.data.get("object") or {}).get("id") or "")[:255],
            created_at=created_at,
            outcome=outcome,
        )
    logger.info("stripe event=%s type=%s outcome=%s", event.id, event.type, outcome)
    return outcome


def _subscription_of(event: EventPayload) -> str | None:
    """Return the id of the subscription that an event is about, if any."""
    data = event.data.get("object") or {}
    match event.type.split("."):
        case ["customer", "subscription", *_]:
            found = data.get("id")
        case ["checkout", "session", *_]:
            found = data.get("subscription")
        case ["invoice", *_]:
            # Since the API version of March 2025 it is two levels down in an invoice.
            parent = (data.get("parent") or {}).get("subscription_details") or {}
            found = parent.get("subscription") or data.get("subscription")
        case _:
            return None
    return found.get("id") if isinstance(found, Mapping) else found


class StripeWebhook(APIView):
    """Receives signed events. Answers 200 after the commit; after any other answer Stripe retries."""

    http_method_names = ["post"]
    schema = None

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        """Skip the framework's negotiation, authentication and throttles: the signature authenticates."""

    def post(self, request: Request) -> HttpResponse:
        environment = settings.ENVIRONMENT
        secret = environment.stripe_webhook_secret
        if not secret:
            raise Problem(404, "not_configured", "Stripe is not configured.")
        length = body_length(request.headers, MAX_EVENT_BYTES)
        require_json(request.headers)
        body = read_body(request._request.read, length)
        try:
            # Signed within the last five minutes.
            signature = request.META.get("HTTP_STRIPE_SIGNATURE", "")
            stripe.WebhookSignature.verify_header(body, signature, secret, stripe.Webhook.DEFAULT_TOLERANCE)
            event = msgspec.json.decode(body, type=EventPayload)
        except stripe.SignatureVerificationError:
            address = client_address(request.META)
            rate_limits.rate_limiter(environment).hit(environment.webhook_failed_rate, "failed", address)
            raise Problem(400, "bad_signature", "The signature is not valid.") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Problem(400, "not_an_event", "The body is not an event.") from None
        try:
            with classified():
                outcome = apply_event(event)
        except (stripe.StripeError, NoMatchingPlan) as error:
            logger.warning("could not apply stripe event=%s: %s", event.id, error)
            raise unavailable("The event cannot be applied now; retry later.") from None
        return HttpResponse(msgspec.json.encode({"outcome": outcome}), content_type="application/json")
