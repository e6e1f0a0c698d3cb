"""The client of Stripe's API."""

from functools import lru_cache

import stripe
from django.conf import settings

from ecosystems.env import Environment

STRIPE_TIMEOUT_S = 10
MAX_RETRIES = 2


class StripeNotConfigured(Exception):
    """STRIPE_API_KEY is not set."""


def api_client() -> stripe.StripeClient:
    """Return the client of this hub's Stripe account. Raises StripeNotConfigured."""
    found = _client(settings.ENVIRONMENT)
    if found is None:
        raise StripeNotConfigured
    return found


def stripe_is_configured() -> bool:
    return bool(settings.ENVIRONMENT.stripe_api_key)


@lru_cache(maxsize=4)
def _client(environment: Environment) -> stripe.StripeClient | None:
    if not environment.stripe_api_key:
        return None
    base = environment.stripe_api_base
    return stripe.StripeClient(
        environment.stripe_api_key,
        base_addresses={"api": base.rstrip("/")} if base else {},
        max_network_retries=MAX_RETRIES,
        http_client=stripe.RequestsClient(timeout=STRIPE_TIMEOUT_S),
    )
