"""The way to Stripe's API."""

from functools import lru_cache

import stripe
from django.conf import settings

from ecosystems.env import Environment

TIMEOUT_S = 10
RETRIES = 2


class NoStripe(Exception):
    """STRIPE_API_KEY is not set: nothing can be paid here."""


def client() -> stripe.StripeClient:
    """Return the client of this hub's account. Raises NoStripe."""
    found = _client(settings.ENVIRONMENT)
    if found is None:
        raise NoStripe
    return found


def is_configured() -> bool:
    return bool(settings.ENVIRONMENT.stripe_api_key)


@lru_cache(maxsize=4)
def _client(environment: Environment) -> stripe.StripeClient | None:
    if not environment.stripe_api_key:
        return None
    base = environment.stripe_api_base
    return stripe.StripeClient(
        environment.stripe_api_key,
        base_addresses={"api": base.rstrip("/")} if base else {},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(timeout=TIMEOUT_S),
    )
