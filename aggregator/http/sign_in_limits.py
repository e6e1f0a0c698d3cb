"""The limit of attempts to sign in with a password, and the operators' form, which keeps to it.

The form is not in `aggregator.admin`: the admin site loads it before that package.
"""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, ProhibitNullCharactersValidator
from django.http import HttpRequest
from unfold.forms import AuthenticationForm

from aggregator.http import rate_limits
from aggregator.http.client_address import client_address
from aggregator.http.problems import Problem

PASSWORDS_PER_CLIENT = "120/hour"
"""Attempts from one address, whatever the user name; axes counts those for one user."""


def address_of_client(request: HttpRequest) -> str:
    """Return the client's address of a Django request, also for axes (AXES_CLIENT_IP_CALLABLE)."""
    return client_address(request.META)


def count_password_attempt(request: HttpRequest) -> None:
    """Count an attempt to sign in, before it costs a hash. Raises Problem 429."""
    limiter = rate_limits.rate_limiter(settings.ENVIRONMENT)
    limiter.hit(PASSWORDS_PER_CLIENT, "passwords from", address_of_client(request))


class SignInForm(AuthenticationForm):  # type: ignore[misc] # the package has no types
    """Limits attempts by address, and user names to what the database holds of a failed one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        longest = self.fields["username"].max_length
        self.fields["username"].validators += [MaxLengthValidator(longest), ProhibitNullCharactersValidator()]

    def clean(self) -> dict[str, Any]:
        try:
            count_password_attempt(self.request)
        except Problem:
            raise ValidationError("Too many attempts from your address. Try again in an hour.") from None
        return dict(super().clean())
