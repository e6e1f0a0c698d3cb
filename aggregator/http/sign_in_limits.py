"""The limit of attempts to sign in with a password, before any of them costs a hash."""

from django.conf import settings
from django.http import HttpRequest

from aggregator.http import rate_limits
from aggregator.http.client_address import client_address

PASSWORDS_PER_CLIENT = "120/hour"
"""Attempts from one address, whatever the user name; axes counts those for one user."""


def address_of_client(request: HttpRequest) -> str:
    """Return the client's address of a Django request, also for axes (AXES_CLIENT_IP_CALLABLE)."""
    return client_address(request.META)


def count_password_attempt(request: HttpRequest) -> None:
    """Count an attempt to sign in with a password. Raises Problem 429."""
    limiter = rate_limits.rate_limiter(settings.ENVIRONMENT)
    limiter.hit(PASSWORDS_PER_CLIENT, "passwords from", address_of_client(request))
