"""Sources: created, limited, rotated and revoked. The URL of a hook is shown once, when it is created."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from aggregator.admin.api_keys import AgentNamesField, RotateKeyForm
from aggregator.admin.base import confirmation_page
from aggregator.admin.source_bodies import last_bodies, received_counts
from aggregator.admin.source_mappings import mapping_page, preview_page
from aggregator.admin.transport_guides import signal_endpoint
from aggregator.models import ECOSYSTEM_CHOICES, Source
from aggregator.sources import tokens
from aggregator.sources.presets import Step, presets
from aggregator.sources.registration import (
    InvalidSource,
    check_agents,
    check_rate,
    checked_network,
    new_source,
)
from aggregator.templatetags.hub import ago

SHOWN_BEFORE = "the URL that was shown when the source was created. Rotate makes another."


class SourceForm(forms.ModelForm):  # type: ignore[type-arg]
    agents = AgentNamesField(
        label="Only these agents",
        required=False,
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="The agents its signals may name, one a line. Leave empty to allow all.",
    )
    allow = forms.CharField(
        label="Allowed addresses",
        required=False,
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="Addresses or networks (CIDR) that may use the hook, one a line. Leave empty to allow all.",
    )
    rate = forms.CharField(
        label="Rate limit",
        required=False,
        widget=UnfoldAdminTextInputWidget({"placeholder": "60/minute"}),
        help_text="Requests it may make. Leave empty for the hub's own limit.",
    )

    class Meta:
        model = Source
        fields = ("agent", "agents", "rate")
        widgets = {"agent": UnfoldAdminTextInputWidget()}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "allow" in self.fields:
            self.initial["allow"] = "\n".join(self.instance.networks)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        try:
            if given.get("agent") and given.get("agents"):
                check_agents(given["agents"], given["agent"])
        except InvalidSource as error:
            self.add_error("agents", str(error))
        return given

    def clean_allow(self) -> list[str]:
        try:
            return [checked_network(line) for line in self.cleaned_data["allow"].replace(",", "\n").split()]
        except InvalidSource as error:
            raise forms.ValidationError(str(error)) from None

    def clean_rate(self) -> str:
        rate = str(self.cleaned_data["rate"]).strip()
        try:
            if rate:
                check_rate(rate)
        except InvalidSource as error:
            raise forms.ValidationError(str(error)) from None
        return rate


class NewSourceForm(SourceForm):
    name = forms.CharField(
        widget=UnfoldAdminTextInputWidget({"placeholder": "tradingview-btc"}),
        help_text="Names the source in logs and begins the ids of its signals. It can't be changed later.",
    )
    preset = forms.ChoiceField(
        choices=lambda: [(each.name, each.title) for each in presets().values()],
        widget=UnfoldAdminSelectWidget(),
        initial="tradingview",
        help_text="The program that sends.",
    )
    ecosystem = forms.ChoiceField(
        choices=[("", "as the preset says"), *ECOSYSTEM_CHOICES],
        required=False,
        widget=UnfoldAdminSelectWidget(),
    )
    stream = forms.CharField(
        label="Redis stream",
        required=False,
        widget=UnfoldAdminTextInputWidget({"placeholder": "trader-TRADER-001:stream"}),
        help_text="For NautilusTrader: the stream to read. The source then has no hook.",
    )

    class Meta:
        model = Source
        fields = ("name", "preset", "ecosystem", "agent", "agents", "rate", "stream")
        widgets = {"agent": UnfoldAdminTextInputWidget()}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["agent"].required = False
        self.fields["agent"].help_text = "Appears as the agent of its signals. Default: the source's name."

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if self.errors:
            return given
        texts = {name: str(given.get(name) or "") for name in ("ecosystem", "agent", "stream")}
        try:
            self.instance = new_source(
                given["name"], given["preset"], networks=given["allow"], agents=given["agents"], **texts
            )
        except InvalidSource as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
        self.instance.rate = given["rate"]
        return given

    def _post_clean(self) -> None:
        """Leave the instance that `clean` made as it is."""


@admin.register(Source)
class SourceAdmin(ModelAdmin):  # type: ignore[misc] # the package has no types
    list_display = ("name", "producer", "state", "where", "agent", "used")
    search_fields = ("name", "agent")
    ordering = ("-created_at",)
    actions = None
    actions_detail = ("edit_mapping", "rotate", "revoke")
    change_form_after_template = "admin/hub/source_after.html"
    new = (
        (None, {"fields": ("name", "preset", "ecosystem", "agent")}),
        ("Limits", {"fields": ("agents", "allow", "rate")}),
        ("Stream", {"fields": ("stream",)}),
    )
    known = (
        (None, {"fields": (("name", "producer"), ("where", "ecosystem"), "agent")}),
        ("Limits", {"fields": ("agents", "allow", "rate")}),
        ("State", {"fields": (("state", "used"), ("created_at", "rotated_at"), "previous_until")}),
    )

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, form=SourceForm if obj else NewSourceForm, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.known if obj else self.new

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        shown = ("name", "producer", "where", "ecosystem", "state", "used")
        return (*shown, "created_at", "rotated_at", "previous_until") if obj else ()

    def get_custom_urls(self) -> tuple[Any, ...]:
        return (("<int:pk>/preview", "aggregator_source_preview", preview_page),)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # revoked instead, since signals and dead letters refer to it

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(super().has_change_permission(request, obj)) and not (obj and obj.revoked_at)

    def has_rotate_permission(self, request: HttpRequest, _object_id: Any = None) -> bool:
        return bool(request.user.has_perm("aggregator.change_source"))

    def save_model(self, request: HttpRequest, obj: Source, form: Any, change: bool) -> None:
        if change:
            obj.networks = form.cleaned_data["allow"]
            obj.save(update_fields=["agent", "agents", "networks", "rate"])
        else:
            request.issued_token = tokens.issue(obj)  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Source, post_url_continue: Any = None) -> HttpResponse:
        """Show the URL in this response: for a redirect it would have to be stored."""
        return self._show(request, request.issued_token)  # type: ignore[attr-defined]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        source = self.get_object(request, object_id)
        extra = {}
        if source:
            extra = {
                "bodies": last_bodies(source),
                "counts": received_counts(source),
                "steps": instructions(source, ""),
            }
        return super().change_view(request, object_id, form_url, extra | (extra_context or {}))

    @action(description="Edit mapping", permissions=["view"], icon="data_object")  # type: ignore[untyped-decorator]
    def edit_mapping(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return mapping_page(self, request, get_object_or_404(Source, pk=object_id))

    @action(description="Rotate", permissions=["rotate"], icon="autorenew")  # type: ignore[untyped-decorator]
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        source = get_object_or_404(Source, pk=object_id, revoked_at=None, stream="")
        seen = str(source.rotated_at or "")
        form = RotateKeyForm(request.POST or None, initial={"seen": seen})
        form.fields["overlap"].label = "Keep the old URL working for (hours)"
        form.fields["overlap"].help_text = "0 ends the old URL immediately."
        if not form.is_valid():
            text = "The hook gets a new URL, shown once on the next page."
            return confirmation_page(self, request, f"Rotate {source.name}", text, form)
        if form.cleaned_data["seen"] != seen:
            messages.error(request, "This source was already rotated and its new URL shown.")
            return redirect("admin:aggregator_source_change", source.pk)
        hours = form.cleaned_data["overlap"]
        issued = tokens.rotate(source, timedelta(hours=hours))
        self.log_change(request, source, f"Rotated; the old URL works for {hours} more hours.")
        return self._show(request, issued)

    @action(description="Revoke", permissions=["rotate"], icon="block")  # type: ignore[untyped-decorator]
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        source = get_object_or_404(Source, pk=object_id)
        if request.method != "POST":
            text = "Its URL stops working immediately. This can't be undone."
            return confirmation_page(self, request, f"Revoke {source.name}", text)
        tokens.revoke(source)
        self.log_change(request, source, "Revoked.")
        return redirect("admin:aggregator_source_change", source.pk)

    def _show(self, request: HttpRequest, issued: tokens.IssuedToken) -> HttpResponse:
        source = issued.source
        url = "" if source.stream else issued.url(signal_endpoint(request))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Source {source.name}",
            "source": source,
            "url": url,
            "steps": instructions(source, url),
            "opts": self.opts,
        }
        response = render(request, "admin/hub/source_created.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description="producer", ordering="preset")
    def producer(self, source: Source) -> str:
        known = presets().get(source.preset)
        return known.title if known else source.preset

    @admin.display(description="way in")
    def where(self, source: Source) -> str:
        return f"stream {source.stream}" if source.stream else "hook"

    @display(description="state", label={"active": "success", "revoked": "danger"})  # type: ignore[untyped-decorator]
    def state(self, source: Source) -> str:
        return "revoked" if source.revoked_at else "active"

    @admin.display(description="last used", ordering="last_used_at")
    def used(self, source: Source) -> str:
        return ago(source.last_used_at)


def instructions(source: Source, url: str) -> list[Step]:
    """Return what to do on the producer's side; with an empty `url` where it cannot be shown any more."""
    known = presets().get(source.preset)
    return [_filled(step, source, url) for step in (known.steps if known else ())]


def _filled(step: Step, source: Source, url: str) -> Step:
    if not url and step.code == "{url}":
        return Step(f"{step.text} {SHOWN_BEFORE}")
    code = step.code.replace("{url}", url or "…").replace("{name}", source.name)
    return Step(step.text, code.strip())
