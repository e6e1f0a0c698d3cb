"""What API keys and sources have in common: a secret that is shown once, and is rotated and revoked."""

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget

from aggregator.admin.base import AddedByHand, confirmation_page
from aggregator.http.api_keys import ROTATION_OVERLAP
from aggregator.templatetags.hub import ago
from ecosystems.signal import RULES, is_agent_source

MAX_OVERLAP_HOURS = 24 * 30


class LinesField(forms.CharField):
    """Texts, one a line."""

    widget = UnfoldAdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override] # its own value is a list
        lines = [line.strip() for line in (super().to_python(value) or "").splitlines()]
        return list(dict.fromkeys(filter(None, lines)))

    def run_validators(self, value: Any) -> None:
        """Leave out the checks of one text."""


class AgentNamesField(LinesField):
    def validate(self, value: list[str]) -> None:
        if not all(map(is_agent_source, value)):
            raise forms.ValidationError(f"A name is a {RULES['agent_source']}, without invisible ones.")


class RotateForm(forms.Form):
    overlap = forms.IntegerField(
        min_value=0,
        max_value=MAX_OVERLAP_HOURS,
        initial=int(ROTATION_OVERLAP.total_seconds() // 3600),
        widget=UnfoldAdminIntegerFieldWidget(),
    )
    seen = forms.CharField(widget=forms.HiddenInput, required=False)
    """When the secret was last rotated, so that a form submitted twice does not rotate twice."""


class CredentialAdmin(AddedByHand):
    """Rows with a secret; they are revoked, never deleted, since logs and dead letters refer to them."""

    ordering = ("-created_at",)
    actions = None
    actions_detail: ClassVar[tuple[str, ...]] = ("rotate", "revoke")
    noun: str
    """What the secret is called."""
    rotate_text: str
    rotatable: ClassVar[dict[str, Any]] = {"revoked_at": None}
    """Which rows can be rotated."""
    changeable: tuple[str, ...]
    """The columns that the form changes."""

    def secrets(self) -> Any:
        """Return what issues, rotates and revokes the rows' secrets."""
        raise NotImplementedError

    def show(self, request: HttpRequest, issued: Any) -> HttpResponse:
        """Return the page of a secret that was just issued, the only one that shows it."""
        raise NotImplementedError

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(super().has_change_permission(request, obj)) and not (obj and obj.revoked_at)

    def has_rotate_permission(self, request: HttpRequest, _object_id: Any = None) -> bool:
        return self.has_change_permission(request)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=self.changeable)
        else:
            request.issued = self.secrets().issue(obj)  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        """Show the secret in this response: for a redirect it would have to be stored."""
        return self.show(request, request.issued)  # type: ignore[attr-defined]

    @action(description="Rotate", permissions=["rotate"], icon="autorenew")  # type: ignore[untyped-decorator]
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = get_object_or_404(self.model, pk=object_id, **self.rotatable)
        seen = str(row.rotated_at or "")
        form = RotateForm(request.POST or None, initial={"seen": seen})
        form.fields["overlap"].label = f"Keep the old {self.noun} valid for (hours)"
        form.fields["overlap"].help_text = f"0 ends the old {self.noun} immediately."
        if not form.is_valid():
            return confirmation_page(self, request, f"Rotate {row}", self.rotate_text, form)
        if form.cleaned_data["seen"] != seen:
            messages.error(request, f"{row} was already rotated, and its new {self.noun} shown.")
            return redirect(f"admin:aggregator_{self.opts.model_name}_change", row.pk)
        hours = form.cleaned_data["overlap"]
        issued = self.secrets().rotate(row, timedelta(hours=hours))
        self.log_change(request, row, f"Rotated; the old {self.noun} is valid for {hours} more hours.")
        return self.show(request, issued)

    @action(description="Revoke", permissions=["rotate"], icon="block")  # type: ignore[untyped-decorator]
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = get_object_or_404(self.model, pk=object_id)
        if request.method != "POST":
            text = "Stops working immediately. This can't be undone."
            return confirmation_page(self, request, f"Revoke {row}", text)
        self.secrets().revoke(row)
        self.log_change(request, row, "Revoked.")
        return redirect(f"admin:aggregator_{self.opts.model_name}_change", row.pk)

    @display(  # type: ignore[untyped-decorator]
        description="state", label={"active": "success", "revoked": "danger", "expired": "warning"}
    )
    def state(self, row: Any) -> str:
        if row.revoked_at:
            return "revoked"
        expires_at = getattr(row, "expires_at", None)
        return "expired" if expires_at and expires_at <= timezone.now() else "active"

    @admin.display(description="last used", ordering="last_used_at")
    def used(self, row: Any) -> str:
        return ago(row.last_used_at)
