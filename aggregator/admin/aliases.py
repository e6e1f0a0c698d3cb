"""Symbols without a certain instrument, and what an operator maps them to."""

from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from aggregator.admin.base import confirmation_page
from aggregator.admin.filters import ChoiceFilter, EcosystemFilter
from aggregator.ledger import aliases
from aggregator.models import SymbolAlias
from aggregator.templatetags.hub import ago
from ecosystems.market.symbols import suggest_instruments, valid_instrument
from ecosystems.signal import is_symbol

INLINE_TIMEOUT_S = 3.0
"""For how long the request that maps a symbol updates its signals; the worker does the rest."""
EXAMPLES = {"crypto": "BTC/USDT or BTC/USDT:USDT", "forex": "EUR/USD", "stock": "AAPL or BRK.B"}


class MappedFilter(ChoiceFilter):
    title = parameter_name = "mapped"
    offered = (("no", "Unmapped"), ("yes", "Mapped"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "no":
            return queryset.filter(instrument="")
        return queryset.exclude(instrument="") if self.value() == "yes" else queryset


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
        text = str(self.cleaned_data["instrument"])
        ecosystem = self.cleaned_data.get("ecosystem") or self.instance.ecosystem
        if not (text and ecosystem):
            return text
        name = valid_instrument(ecosystem, text)
        if name is None:
            example = EXAMPLES[ecosystem]
            raise forms.ValidationError(f"This is no instrument of {ecosystem}. Write it like {example}.")
        return name


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
        symbol = str(self.cleaned_data["symbol"])
        if not is_symbol(symbol):
            raise forms.ValidationError("Use printable characters, with single spaces inside.")
        return symbol


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
        name, obj.instrument = obj.instrument, form.initial.get("instrument", "") if change else ""
        aliases.map_symbol(obj, name)
        transaction.on_commit(partial(self._update_signals, request, obj))

    def map_to_suggestion(self, request: HttpRequest, pk: int, **_: Any) -> HttpResponse:
        """Map a symbol to the instrument on its button, and update its signals."""
        alias = get_object_or_404(SymbolAlias, pk=pk)
        name = valid_instrument(alias.ecosystem, request.POST.get("map", ""))
        if name is None or not self.has_change_permission(request, alias):
            return HttpResponse(status=403)
        aliases.map_symbol(alias, name)
        self.log_change(request, alias, f"Mapped to {alias.instrument}.")
        self._update_signals(request, alias)
        return HttpResponseRedirect(reverse("admin:aggregator_symbolalias_changelist") + "?mapped=no")

    @action(description="Update signals", permissions=["change"], icon="sync")  # type: ignore[untyped-decorator]
    def update_signals(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Update all signals of a symbol again, whatever their instrument is."""
        alias = get_object_or_404(SymbolAlias, pk=object_id)
        if request.method != "POST":
            name = alias.instrument or alias.symbol
            text = f"Set the instrument of all {alias.symbol} signals to {name}, also after an interruption?"
            return confirmation_page(self, request, "Update signals", text)
        aliases.update_all_signals(alias)
        self._update_signals(request, alias)
        return redirect("admin:aggregator_symbolalias_change", alias.pk)

    def _update_signals(self, request: HttpRequest, alias: SymbolAlias) -> None:
        """Update for INLINE_TIMEOUT_S, and show how far that got."""
        count = aliases.update_signals(INLINE_TIMEOUT_S, alias.pk)
        name = alias.instrument or alias.symbol
        done = f"{alias}: {count:,} signal{pluralize(count)} updated to {name}"
        if SymbolAlias.objects.filter(pk=alias.pk, update_cursor="").exists():
            messages.success(request, f"{done}.")
        else:
            messages.warning(request, f"{done} so far. The worker updates the rest.")

    @admin.display(description="suggestions")
    def suggestion(self, alias: SymbolAlias) -> SafeString | str:
        names = [] if alias.instrument else suggest_instruments(alias.ecosystem, alias.symbol)
        address = reverse("admin:aggregator_symbolalias_map", args=[alias.pk])
        button = '<button class="hub-button" formaction="{}" name="map" value="{}">Map to {}</button>'
        buttons = format_html_join("", button, ((address, name, name) for name in names))
        return format_html('<div class="hub-buttons">{}</div>', buttons) if names else "—"

    @admin.display(description="signals")
    def count(self, alias: SymbolAlias) -> str:
        return f"{alias.signals:,}" + (", updating" if alias.update_cursor else "")

    @admin.display(description="last seen")
    def seen(self, alias: SymbolAlias) -> str:
        return ago(alias.last_seen)
