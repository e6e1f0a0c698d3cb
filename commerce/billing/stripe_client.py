"""The client of Stripe's API."""

from functools import lru_cache
from typing import Any

import stripe
from django.conf import settings

from aggregator.postgres.pool import release_connections
from ecosystems.env import Environment

STRIPE_TIMEOUT_S = 10
MAX_RETRIES = 2


def api_client() -> stripe.StripeClient:
    """Return the client of this hub's Stripe account. Raises stripe.AuthenticationError without a key."""
    return _client(settings.ENVIRONMENT)


def stripe_is_configured() -> bool:
    return bool(settings.ENVIRONMENT.stripe_api_key)


class _HttpClient(stripe.RequestsClient):
    """Stripe's own, which holds no connection to the database while it waits."""

    def request(self, *args: Any, **kwargs: Any) -> Any:
        release_connections()
        return super().request(*args, **kwargs)


@lru_cache(maxsize=4)
def _client(environment: Environment) -> stripe.StripeClient:
    base = environment.stripe_api_base
    return stripe.StripeClient(
        environment.stripe_api_key,  # type: ignore[arg-type] # refuses None
        base_addresses={"api": base.rstrip("/")} if base else {},
        max_network_retries=MAX_RETRIES,
        http_client=_HttpClient(timeout=STRIPE_TIMEOUT_S),
    )
