"""Sources: created, limited, rotated and revoked. The URL of a hook is shown once, when it is created."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from aggregator.admin.base import admin_page
from aggregator.admin.credentials import AgentNamesField, CredentialAdmin, LinesField
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

SHOWN_BEFORE = "the URL that was shown when the source was created. Rotate makes another."


class SourceForm(forms.ModelForm):  # type: ignore[type-arg]
    agents = AgentNamesField(
        label="Only these agents",
        required=False,
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="The agents its signals may name, one a line. Leave empty to allow all.",
    )
    networks = LinesField(
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
        fields: tuple[str, ...] = ("agent", "agents", "networks", "rate")
        widgets = {"agent": UnfoldAdminTextInputWidget()}

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        try:
            if given.get("agent"):
                check_agents(given.get("agents") or [], given["agent"])
        except InvalidSource as error:
            self.add_error(error.field, str(error))
        return given

    def clean_networks(self) -> list[str]:
        given = " ".join(self.cleaned_data["networks"]).replace(",", " ").split()
        try:
            return [checked_network(network) for network in given]
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

    class Meta(SourceForm.Meta):
        fields = ("name", "preset", "ecosystem", *SourceForm.Meta.fields, "stream")
        help_texts = {"agent": "Appears as the agent of its signals. Default: the source's name."}

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if self.errors:
            return given
        texts = {name: str(given.get(name) or "") for name in ("ecosystem", "agent", "stream")}
        try:
            self.instance = new_source(
                given["name"], given["preset"], networks=given["networks"], agents=given["agents"], **texts
            )
        except InvalidSource as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
        self.instance.rate = given["rate"]
        return given

    def _post_clean(self) -> None:
        """Leave the instance that `clean` made as it is."""


@admin.register(Source)
class SourceAdmin(CredentialAdmin):
    list_display = ("name", "producer", "state", "where", "agent", "used")
    search_fields = ("name", "agent")
    actions_detail = ("edit_mapping", "rotate", "revoke")
    change_form_after_template = "admin/hub/source_after.html"
    add_fieldsets = (
        (None, {"fields": ("name", "preset", "ecosystem", "agent")}),
        ("Limits", {"fields": ("agents", "networks", "rate")}),
        ("Stream", {"fields": ("stream",)}),
    )
    fieldsets = (
        (None, {"fields": (("name", "producer"), ("where", "ecosystem"), "agent")}),
        ("Limits", {"fields": ("agents", "networks", "rate")}),
        ("State", {"fields": (("state", "used"), ("created_at", "rotated_at"), "previous_until")}),
    )

    noun = "URL"
    rotate_text = "The hook gets a new URL, shown once on the next page."
    rotatable = {"revoked_at": None, "stream": ""}
    changeable = ("agent", "agents", "networks", "rate")

    def secrets(self) -> Any:
        return tokens

    def show(self, request: HttpRequest, issued: tokens.IssuedToken) -> HttpResponse:
        source = issued.source
        url = "" if source.stream else issued.url(signal_endpoint(request))
        page, steps = "admin/hub/source_created.html", instructions(source, url)
        return admin_page(self, request, page, f"Source {source}", source=source, url=url, steps=steps)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, form=SourceForm if obj else NewSourceForm, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        shown = ("name", "producer", "where", "ecosystem", "state", "used")
        return (*shown, "created_at", "rotated_at", "previous_until") if obj else ()

    def get_custom_urls(self) -> tuple[Any, ...]:
        return (("<int:pk>/preview", "aggregator_source_preview", preview_page),)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        if obj:
            context |= {
                "bodies": last_bodies(obj),
                "counts": received_counts(obj),
                "steps": instructions(obj, ""),
            }
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)  # type: ignore[no-any-return]

    @action(description="Edit mapping", permissions=["view"], icon="data_object")  # type: ignore[untyped-decorator]
    def edit_mapping(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return mapping_page(self, request, get_object_or_404(Source, pk=object_id))

    @admin.display(description="producer", ordering="preset")
    def producer(self, source: Source) -> str:
        known = presets().get(source.preset)
        return known.title if known else source.preset

    @admin.display(description="way in")
    def where(self, source: Source) -> str:
        return f"stream {source.stream}" if source.stream else "hook"


def instructions(source: Source, url: str) -> list[Step]:
    """Return what to do on the producer's side; with an empty `url` where it cannot be shown any more."""
    known = presets().get(source.preset)
    return [_filled(step, source, url) for step in (known.steps if known else ())]


def _filled(step: Step, source: Source, url: str) -> Step:
    if not url and step.code == "{url}":
        return Step(f"{step.text} {SHOWN_BEFORE}")
    code = step.code.replace("{url}", url or "…").replace("{name}", source.name)
    return Step(step.text, code.strip())
