"""`POST /api/stripe`: receives Stripe's events and verifies them; `stripe_events` applies them."""

import logging

import msgspec
import stripe
from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from aggregator.http import rate_limits
from aggregator.http.client_address import client_address
from aggregator.http.problems import Problem, unavailable
from aggregator.http.requests import body_length, read_body, request_headers, require_json
from aggregator.ledger.errors import classified
from commerce.billing import stripe_events, stripe_sync
from commerce.billing.stripe_client import StripeNotConfigured

logger = logging.getLogger("signal_hub.billing")

MAX_EVENT_BYTES = 1_048_576


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
        headers = request_headers(request.META)
        length = body_length(headers, MAX_EVENT_BYTES)
        require_json(headers)
        body = read_body(request._request.read, length)
        try:
            event = stripe_events.verify_event(body, request.META.get("HTTP_STRIPE_SIGNATURE", ""), secret)
        except stripe.SignatureVerificationError:
            address = client_address(request.META)
            rate_limits.rate_limiter(environment).hit(environment.webhook_failed_rate, "failed", address)
            raise Problem(400, "bad_signature", "The signature is not valid.") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Problem(400, "not_an_event", "The body is not an event.") from None
        try:
            with classified():
                outcome = stripe_events.apply_event(event)
        except (stripe.StripeError, StripeNotConfigured, stripe_sync.NoMatchingPlan) as error:
            logger.warning("could not apply stripe event=%s: %s", event.id, error)
            raise unavailable("The event cannot be applied now; retry later.") from None
        return HttpResponse(msgspec.json.encode({"outcome": outcome}), content_type="application/json")
