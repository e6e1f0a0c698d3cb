"""`POST /api/stripe`: where Stripe sends its events. It verifies and translates; `events` decides."""

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
from aggregator.http.requests import read_body
from aggregator.ledger.errors import classified
from commerce.billing import stripe_events, stripe_sync
from commerce.billing.stripe_client import StripeNotConfigured

logger = logging.getLogger("signal_hub.billing")

MAX_EVENT_BYTES = 1_048_576


class StripeWebhook(APIView):
    """Takes signed events; answers 200 when what they told is committed, else Stripe sends them again."""

    http_method_names = ["post"]
    schema = None

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        """Leave out the framework's negotiation, authentication and throttles: the signature is all."""

    def post(self, request: Request) -> HttpResponse:
        environment = settings.ENVIRONMENT
        secret = environment.stripe_webhook_secret
        if not secret:
            raise Problem(404, "not_configured", "This hub takes no payments by Stripe.")
        body = read_body(request.META, request._request.read, MAX_EVENT_BYTES)
        try:
            event = stripe_events.verify_event(body, request.META.get("HTTP_STRIPE_SIGNATURE", ""), secret)
        except stripe.SignatureVerificationError:
            address = client_address(request.META, settings.ENVIRONMENT.trusted_proxies)
            rate_limits.rate_limiter(settings.ENVIRONMENT).hit(
                settings.ENVIRONMENT.webhook_failed_rate, "failed", address
            )
            raise Problem(400, "bad_signature", "The signature is not valid.") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Problem(400, "not_an_event", "The body is no event.") from None
        try:
            with classified():
                outcome = stripe_events.apply_event(event)
        except (stripe.StripeError, StripeNotConfigured, stripe_sync.NoMatchingPlan) as error:
            logger.warning("stripe event=%s is not applied: %s", event.id, error)
            raise unavailable("The event cannot be applied now; send it again later.") from None
        return HttpResponse(msgspec.json.encode({"outcome": outcome}), content_type="application/json")
