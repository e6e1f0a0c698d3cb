"""API keys: created, restricted, rotated and revoked. A value is shown once, when it is created."""

import re
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from aggregator.admin.base import AddedByHand, confirmation_page
from aggregator.admin.transport_guides import clients_for_key, signal_endpoint
from aggregator.http import api_keys
from aggregator.models import ECOSYSTEM_CHOICES, ApiKey
from aggregator.templatetags.hub import ago
from ecosystems.signal import RULES, is_agent_source

KEY_ID_PATTERN = re.compile("[A-Za-z0-9._-]{1,64}")
"""An id that needs no quoting in a shell, a log or a snippet."""
KEY_ID_SUFFIX = re.compile("[0-9a-f]{6}")
MAX_OVERLAP_HOURS = 24 * 30


class AgentNamesField(forms.CharField):
    """Names of agents, one a line."""

    widget = UnfoldAdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override] # its own value is a list
        names = [line.strip() for line in (super().to_python(value) or "").splitlines()]
        return list(dict.fromkeys(filter(None, names)))

    def validate(self, value: list[str]) -> None:
        if not all(map(is_agent_source, value)):
            raise forms.ValidationError(f"A name is a {RULES['agent_source']}, without invisible ones.")

    def run_validators(self, value: Any) -> None:
        """Leave out the checks of one text: `validate` has checked each name."""


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "name" in self.fields:
            self.fields["name"].widget = UnfoldAdminTextInputWidget()
            self.fields["name"].label = "Key name"
        if "key_id" in self.fields:
            self.fields["key_id"].widget = UnfoldAdminTextInputWidget()
            self.fields["key_id"].label = "Key ID"
            self.fields["key_id"].required = False
            self.fields[
                "key_id"
            ].help_text = "Identifies the key in logs; generated from its name if left empty."

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


class RotateKeyForm(forms.Form):
    overlap = forms.IntegerField(
        label="Keep the old key valid for (hours)",
        help_text="0 revokes the old value immediately.",
        min_value=0,
        max_value=MAX_OVERLAP_HOURS,
        initial=int(api_keys.ROTATION_OVERLAP.total_seconds() // 3600),
        widget=UnfoldAdminIntegerFieldWidget(),
    )
    seen = forms.CharField(widget=forms.HiddenInput, required=False)
    """When the key was last rotated, so that a form submitted twice does not rotate twice."""


@admin.register(ApiKey)
class ApiKeyAdmin(AddedByHand):
    form = ApiKeyForm
    list_display = ("key_id", "name", "state", "may", "where", "who", "used", "expires_at")
    search_fields = ("key_id", "name")
    ordering = ("-created_at",)
    actions_detail = ("rotate", "revoke")
    actions = None
    names = (None, {"fields": ("name", "key_id")})
    rights = ("scopes", "ecosystems", "expires_at", "agents")
    history = (
        "State",
        {"fields": (("state", "used"), ("created_at", "rotated_at"), ("previous_until", "revoked_at"))},
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        rights = ("Permissions", {"fields": self.rights if obj else (*self.rights, "suffix")})
        return (self.names, rights, self.history) if obj else (self.names, rights)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        history = ("state", "used", "created_at", "rotated_at", "previous_until", "revoked_at")
        return ("key_id", *history) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # revoked instead, since logs and dead letters refer to it

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(super().has_change_permission(request, obj)) and not (obj and obj.revoked_at)

    def has_rotate_permission(self, request: HttpRequest, _object_id: Any = None) -> bool:
        return bool(request.user.has_perm("aggregator.change_apikey"))

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=["name", "scopes", "ecosystems", "agents", "expires_at"])
        else:
            request.issued_key = api_keys.auth_manager(settings.ENVIRONMENT).issue(obj)  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: Any = None) -> HttpResponse:
        """Show the value in this response: for a redirect it would have to be stored."""
        return self._show(request, request.issued_key)  # type: ignore[attr-defined]

    @action(description="Rotate", permissions=["rotate"], icon="autorenew")  # type: ignore[untyped-decorator]
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = get_object_or_404(ApiKey, pk=object_id, revoked_at=None)
        seen = str(key.rotated_at or "")
        form = RotateKeyForm(request.POST or None, initial={"seen": seen})
        if not form.is_valid():
            text = "The key gets a new value and a new signing secret, shown once on the next page."
            return confirmation_page(self, request, f"Rotate {key.key_id}", text, form)
        if form.cleaned_data["seen"] != seen:
            messages.error(request, "This key was already rotated and its new value shown.")
            return redirect("admin:aggregator_apikey_change", key.pk)
        hours = form.cleaned_data["overlap"]
        issued = api_keys.auth_manager(settings.ENVIRONMENT).rotate(key, timedelta(hours=hours))
        self.log_change(request, key, f"Rotated; the old value is valid for {hours} more hours.")
        return self._show(request, issued)

    @action(description="Revoke", permissions=["rotate"], icon="block")  # type: ignore[untyped-decorator]
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = get_object_or_404(ApiKey, pk=object_id)
        if request.method != "POST":
            text = "Stops working immediately. This can't be undone."
            return confirmation_page(self, request, f"Revoke {key.key_id}", text)
        api_keys.auth_manager(settings.ENVIRONMENT).revoke(key)
        self.log_change(request, key, "Revoked.")
        return redirect("admin:aggregator_apikey_change", key.pk)

    def _show(self, request: HttpRequest, issued: api_keys.IssuedKey) -> HttpResponse:
        publishes = api_keys.PUBLISH in issued.key.scopes
        context = {
            **self.admin_site.each_context(request),
            "title": f"Key {issued.key.key_id}",
            "issued": issued,
            "clients": clients_for_key(signal_endpoint(request), issued) if publishes else [],
            "opts": self.opts,
        }
        response = render(request, "admin/hub/key_created.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @display(  # type: ignore[untyped-decorator]
        description="state", label={"active": "success", "revoked": "danger", "expired": "warning"}
    )
    def state(self, key: ApiKey) -> str:
        if key.revoked_at:
            return "revoked"
        return "expired" if key.expires_at and key.expires_at <= timezone.now() else "active"

    @admin.display(description="scopes")
    def may(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @admin.display(description="ecosystems")
    def where(self, key: ApiKey) -> str:
        return ", ".join(key.ecosystems) or "all"

    @admin.display(description="agents")
    def who(self, key: ApiKey) -> str:
        return ", ".join(key.agents) or "any"

    @admin.display(description="last used")
    def used(self, key: ApiKey) -> str:
        return ago(key.last_used_at)
