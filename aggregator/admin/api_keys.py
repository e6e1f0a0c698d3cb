"""API keys: created, restricted, rotated and revoked. A value is shown once, when it is created."""

import re
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from aggregator.admin.base import admin_page
from aggregator.admin.credentials import AgentNamesField, CredentialAdmin
from aggregator.admin.transport_guides import clients_for_key, signal_endpoint
from aggregator.http import api_keys
from aggregator.models import ECOSYSTEM_CHOICES, ApiKey

KEY_ID_PATTERN = re.compile("[A-Za-z0-9._-]{1,64}")
"""An id that needs no quoting in a shell, a log or a snippet."""
KEY_ID_SUFFIX = re.compile("[0-9a-f]{6}")


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    key_id = forms.CharField(
        label="Key ID",
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Identifies the key in logs; generated from its name if left empty.",
    )
    scopes = forms.MultipleChoiceField(
        choices=ApiKey.SCOPES, widget=UnfoldAdminCheckboxSelectMultipleWidget, initial=[api_keys.PUBLISH]
    )
    ecosystems = forms.MultipleChoiceField(
        choices=ECOSYSTEM_CHOICES,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        required=False,
        help_text="Select none to allow all.",
    )
    agents = AgentNamesField(
        widget=UnfoldAdminTextareaWidget({"rows": 4}),
        required=False,
        help_text="The values of agent_source it may publish, one a line. Empty: any.",
    )
    suffix = forms.CharField(widget=forms.HiddenInput, required=False, initial=api_keys.new_key_suffix)
    """The end of an id that is generated from the name, so that a form submitted twice creates one key."""

    class Meta:
        model = ApiKey
        fields = ("name", "key_id", "scopes", "ecosystems", "agents", "expires_at")
        labels = {"name": "Key name"}
        widgets = {"name": UnfoldAdminTextInputWidget()}

    def clean_scopes(self) -> list[str]:
        scopes = list(self.cleaned_data["scopes"])
        if getattr(self.instance, "reader", None) and scopes != [api_keys.READ]:
            raise forms.ValidationError("A customer's key may read the feed and nothing else.")
        return scopes

    def clean_key_id(self) -> str:
        key_id = str(self.cleaned_data.get("key_id") or "")
        if key_id and not KEY_ID_PATTERN.fullmatch(key_id):
            raise forms.ValidationError("Use at most 64 letters, digits, '.', '_' and '-'.")
        if key_id in dict(settings.ENVIRONMENT.api_keys):
            raise forms.ValidationError("CORE_API_KEYS contains a key with this ID.")
        return key_id or self._generated_id()

    def _generated_id(self) -> str:
        suffix = str(self.data.get("suffix") or "")
        suffix = suffix if KEY_ID_SUFFIX.fullmatch(suffix) else ""
        key_id = api_keys.new_key_id(str(self.data.get("name") or "key"), suffix)
        if ApiKey.objects.filter(key_id=key_id).exists():
            raise forms.ValidationError(
                "This key was already created and its value shown. To create another one, reload this page."
            )
        return key_id


@admin.register(ApiKey)
class ApiKeyAdmin(CredentialAdmin):
    form = ApiKeyForm
    list_display = ("key_id", "name", "state", "may", "where", "who", "used", "expires_at")
    search_fields = ("key_id", "name")
    names = (None, {"fields": ("name", "key_id")})
    rights = ("scopes", "ecosystems", "expires_at", "agents")
    add_fieldsets = (names, ("Permissions", {"fields": (*rights, "suffix")}))
    fieldsets = (
        names,
        ("Permissions", {"fields": rights}),
        (
            "State",
            {"fields": (("state", "used"), ("created_at", "rotated_at"), ("previous_until", "revoked_at"))},
        ),
    )
    noun = "key"
    rotate_text = "The key gets a new value and a new signing secret, shown once on the next page."
    changeable = ("name", "scopes", "ecosystems", "agents", "expires_at")

    def secrets(self) -> api_keys.AuthManager:
        return api_keys.auth_manager(settings.ENVIRONMENT)

    def show(self, request: HttpRequest, issued: api_keys.IssuedKey) -> HttpResponse:
        publishes = api_keys.PUBLISH in issued.key.scopes
        clients = clients_for_key(signal_endpoint(request), issued) if publishes else []
        page, title = "admin/hub/key_created.html", f"Key {issued.key}"
        return admin_page(self, request, page, title, issued=issued, clients=clients)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        history = ("state", "used", "created_at", "rotated_at", "previous_until", "revoked_at")
        return ("key_id", *history) if obj else ()

    @admin.display(description="scopes")
    def may(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @admin.display(description="ecosystems")
    def where(self, key: ApiKey) -> str:
        return ", ".join(key.ecosystems) or "all"

    @admin.display(description="agents")
    def who(self, key: ApiKey) -> str:
        return ", ".join(key.agents) or "any"
