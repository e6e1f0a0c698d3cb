"""Forms of the customers' pages."""

from django import forms
from django.contrib.auth.password_validation import validate_password
from unfold.widgets import (
    UnfoldAdminEmailInputWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from aggregator.http.ssrf import MAX_URL_LENGTH
from commerce.models import Endpoint


class LowerCaseEmailField(forms.EmailField):
    """An address in lower case, in which customers have theirs; that may be longer than what was entered."""

    def to_python(self, value: str | None) -> str:
        return (super().to_python(value) or "").lower()


class SignInLinkForm(forms.Form):
    email = LowerCaseEmailField(
        label="E-mail", max_length=254, widget=UnfoldAdminEmailInputWidget(attrs={"autocomplete": "email"})
    )


class PasswordSignInForm(SignInLinkForm):
    password = forms.CharField(
        max_length=4096, widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password"})
    )


class NewPasswordForm(forms.Form):
    password = forms.CharField(
        label="New password",
        max_length=4096,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        validate_password(password)
        return password


class SignUpForm(NewPasswordForm, SignInLinkForm):
    field_order = ["email", "password"]


class NewKeyForm(forms.Form):
    name = forms.CharField(
        label="Key name",
        max_length=64,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "My trading bot"}),
    )


class NewEndpointForm(forms.Form):
    channel = forms.ChoiceField(
        label="Channel", choices=Endpoint.Channel.choices, widget=UnfoldAdminSelectWidget
    )
    url = forms.CharField(
        label="Destination",
        max_length=MAX_URL_LENGTH,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "https://example.com/signals"}),
        help_text="Webhook: an https:// URL. Telegram: bot token/chat ID. Discord and Slack: incoming "
        "webhook URL. E-mail: the address of your account.",
    )
    outcomes = forms.BooleanField(
        label="Send outcomes of calls, too",
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
    )
