"""The operators' sign-in form. Not in `aggregator.admin`: the admin site loads it before that package."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, ProhibitNullCharactersValidator
from unfold.forms import AuthenticationForm

from aggregator.http.problems import Problem
from aggregator.http.sign_in_limits import count_password_attempt


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
