"""Symbols without a certain instrument, and what an operator maps them to."""

import re
import time
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from aggregator.admin.bulk_actions import BulkAction, Preview, StepResult, bulk_action_response
from aggregator.admin.signals import EcosystemFilter
from aggregator.ledger import aliases
from aggregator.ledger.errors import Outage
from aggregator.models import SymbolAlias
from aggregator.templatetags.hub import ago
from ecosystems.market.symbols import instrument

INLINE_TIMEOUT_S = 3.0
"""For how long the request that maps a symbol updates its signals; a page with progress does the rest."""
SYMBOL_PATTERN = re.compile("[!-~]{1,64}")


class MappedFilter(DropdownFilter):  # type: ignore[misc] # the package has no types
    title = "mapped"
    parameter_name = "mapped"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("no", "Unmapped"), ("yes", "Mapped")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "no":
            return queryset.filter(instrument="")
        return queryset.exclude(instrument="") if self.value() == "yes" else queryset


def validate_symbol(text: str) -> str:
    """Return the text of a symbol or an instrument; raises ValidationError if it cannot be one."""
    if not SYMBOL_PATTERN.fullmatch(text):
        raise forms.ValidationError("Use printable ASCII characters without spaces.")
    return text


class InstrumentForm(forms.ModelForm):  # type: ignore[type-arg]
    """The editable field of a row of the list."""

    instrument = forms.CharField(
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget({"aria-label": "Instrument"}),
    )

    class Meta:
        model = SymbolAlias
        fields = ("instrument",)

    def clean_instrument(self) -> str:
        name = str(self.cleaned_data["instrument"])
        ecosystem = self.cleaned_data.get("ecosystem") or self.instance.ecosystem
        return aliases.canonical_name(ecosystem, validate_symbol(name)) if name and ecosystem else name


class AliasForm(InstrumentForm):
    symbol = forms.CharField(max_length=64, widget=UnfoldAdminTextInputWidget())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Not in the list: it shows no help text, and the field's aria-describedby would point to nothing.
        self.fields["instrument"].help_text = "For example BTC/USDT, BTC/USDT:USDT, EUR/USD or AAPL."

    class Meta:
        model = SymbolAlias
        fields = ("ecosystem", "symbol", "instrument")

    def clean_symbol(self) -> str:
        return validate_symbol(str(self.cleaned_data["symbol"]))


class UpdateSignals(BulkAction):
    """Sets the instrument of an alias's signals; `before` is the one they have, None if it is not known."""

    button = "Update signals"

    def __init__(self, alias: SymbolAlias, before: str | None, cursor: str = aliases.START) -> None:
        self.alias = alias
        self.before = before
        self.cursor = cursor
        self.title = f"Update signals of {alias.symbol}"

    def preview(self) -> Preview:
        name = self.alias.instrument or self.alias.symbol
        return Preview(f"Set the instrument of all {self.alias.symbol} signals to {name}?", None, self.cursor)

    def step(self, cursor: str) -> StepResult:
        count, following = aliases.rename_signals(self.alias, self.before, cursor)
        return StepResult(count, {"updated": count}, following)


@admin.register(SymbolAlias)
class AliasAdmin(ModelAdmin):  # type: ignore[misc]
    form = AliasForm
    list_display = ("symbol", "ecosystem", "instrument", "suggestion", "count", "seen")
    list_editable = ("instrument",)
    list_filter = (MappedFilter, EcosystemFilter)
    list_filter_submit = True
    search_fields = ("symbol", "instrument")
    ordering = ("-last_seen", "pk")
    list_per_page = 50
    actions = None
    actions_detail = ("update_signals",)
    fields = ("ecosystem", "symbol", "instrument")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("ecosystem", "symbol") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # its instrument is cleared instead: the signals get the one derived from the symbol

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return InstrumentForm

    def get_custom_urls(self) -> tuple[Any, ...]:
        return (("<int:pk>/map", "aggregator_symbolalias_map", require_POST(self.map_to_suggestion)),)

    def save_model(self, request: HttpRequest, obj: SymbolAlias, form: Any, change: bool) -> None:
        before = form.initial.get("instrument", "") if change else ""
        super().save_model(request, obj, form, change)
        request.hub_mapped = [*getattr(request, "hub_mapped", []), (obj, before)]  # type: ignore[attr-defined]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return self._after_saving(request, super().changelist_view(request, extra_context))

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._after_saving(request, super().changeform_view(request, *args, **kwargs))

    def map_to_suggestion(self, request: HttpRequest, pk: int, **_: Any) -> HttpResponse:
        """Map a symbol to the instrument on its button, and update its signals."""
        alias = get_object_or_404(SymbolAlias, pk=pk)
        name = request.POST.get("map", "")
        if not self.has_change_permission(request, alias) or not SYMBOL_PATTERN.fullmatch(name):
            return HttpResponse(status=403)
        before, alias.instrument = alias.instrument, aliases.canonical_name(alias.ecosystem, name)
        alias.save(update_fields=["instrument"])
        LogEntry.objects.log_actions(
            int(request.user.pk or 0), [alias], CHANGE, change_message=f"Mapped to {alias.instrument}."
        )
        return self._update_inline(request, alias, before) or HttpResponseRedirect(
            reverse("admin:aggregator_symbolalias_changelist") + "?mapped=no"
        )

    @action(description="Update signals", permissions=["change"], icon="sync")  # type: ignore[untyped-decorator]
    def update_signals(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Update signals step by step: from the query's cursor, or all again after an interrupted update."""
        alias = get_object_or_404(SymbolAlias, pk=object_id)
        before, cursor = request.GET.get("before"), request.GET.get("cursor", aliases.START)
        allowed = self.has_change_permission(request, alias)
        return bulk_action_response(self, request, UpdateSignals(alias, before, cursor), allowed=allowed)

    def _after_saving(self, request: HttpRequest, response: Any) -> Any:
        """Update the signals of what this request mapped, now that its transaction is committed."""
        for alias, before in getattr(request, "hub_mapped", []):
            response = self._update_inline(request, alias, before) or response
        return response

    def _update_inline(self, request: HttpRequest, alias: SymbolAlias, before: str) -> HttpResponse | None:
        """Update for INLINE_TIMEOUT_S; return a redirect to the page for the rest, None if all is done."""
        replaced = before or instrument(alias.ecosystem, alias.symbol)
        update = UpdateSignals(alias, replaced)
        deadline = time.monotonic() + INLINE_TIMEOUT_S
        total, cursor = 0, aliases.START
        while time.monotonic() <= deadline:
            try:
                step = update.step(cursor)
            except Outage as outage:
                messages.warning(
                    request, f"{alias} is mapped, but some of its signals are not updated: {outage}."
                )
                break
            total += step.count
            if step.cursor is None:
                name = alias.instrument or alias.symbol
                messages.success(request, f"{alias}: {total:,} signal{pluralize(total)} updated to {name}.")
                return None
            cursor = step.cursor
        page = reverse("admin:aggregator_symbolalias_update_signals", args=[alias.pk])
        return HttpResponseRedirect(f"{page}?{urlencode({'before': replaced, 'cursor': cursor})}")

    @admin.display(description="suggestion")
    def suggestion(self, alias: SymbolAlias) -> SafeString | str:
        name = "" if alias.instrument else aliases.suggest_instrument(alias.ecosystem, alias.symbol)
        if not name:
            return "—"
        address = reverse("admin:aggregator_symbolalias_map", args=[alias.pk])
        button = '<button class="hub-button" formaction="{}" name="map" value="{}">Map to {}</button>'
        return format_html(button, address, name, name)

    @admin.display(description="signals")
    def count(self, alias: SymbolAlias) -> str:
        return f"{alias.signals:,}"

    @admin.display(description="last seen")
    def seen(self, alias: SymbolAlias) -> str:
        return ago(alias.last_seen)
