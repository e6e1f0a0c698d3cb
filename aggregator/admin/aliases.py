"""Symbols that the hub could not name, and their mapping."""

import re
import time
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from aggregator.admin.signals import EcosystemFilter
from aggregator.ledger import aliases
from aggregator.ledger.errors import Outage
from aggregator.models import SymbolAlias
from aggregator.templatetags.hub import ago
from ecosystems.market.symbols import instrument

AT_ONCE_S = 3.0
"""For how long rows are mended in the request that maps a symbol; a longer mending shows its progress."""
NAME = re.compile("[!-~]{1,64}")


class MappedFilter(DropdownFilter):  # type: ignore[misc] # the package has no types
    title = "mapped"
    parameter_name = "mapped"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("no", "Not mapped"), ("yes", "Mapped")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "no":
            return queryset.filter(instrument="")
        return queryset.exclude(instrument="") if self.value() == "yes" else queryset


def checked(text: str) -> str:
    """Return what may name a symbol or an instrument; raises ValidationError for the rest."""
    if not NAME.fullmatch(text):
        raise forms.ValidationError("Printable ASCII characters without spaces.")
    return text


class NameForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a row of the list lets one edit."""

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
        return aliases.cleaned(ecosystem, checked(name)) if name and ecosystem else name


class AliasForm(NameForm):
    symbol = forms.CharField(max_length=64, widget=UnfoldAdminTextInputWidget())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Not in the list, where a help text is not shown and its field would point to nothing.
        name = "Its canonical name, as BTC/USDT, BTC/USDT:USDT, EUR/USD or AAPL."
        self.fields["instrument"].help_text = name

    class Meta:
        model = SymbolAlias
        fields = ("ecosystem", "symbol", "instrument")

    def clean_symbol(self) -> str:
        return checked(str(self.cleaned_data["symbol"]))


@admin.register(SymbolAlias)
class AliasAdmin(ModelAdmin):  # type: ignore[misc]
    form = AliasForm
    list_display = ("symbol", "ecosystem", "instrument", "one_click", "count", "seen")
    list_editable = ("instrument",)
    list_filter = (MappedFilter, EcosystemFilter)
    list_filter_submit = True
    search_fields = ("symbol", "instrument")
    ordering = ("-last_seen", "pk")
    list_per_page = 50
    actions = None
    actions_detail = ("mend_again",)
    fields = ("ecosystem", "symbol", "instrument")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("ecosystem", "symbol") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # emptied instead: the rows go back to the symbol as it is written

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return NameForm

    def get_custom_urls(self) -> tuple[Any, ...]:
        return (
            ("<int:pk>/map", "aggregator_symbolalias_map", require_POST(self.map_one)),
            ("<int:pk>/mend", "aggregator_symbolalias_mend", self.mend_page),
            ("<int:pk>/mend/step", "aggregator_symbolalias_step", require_POST(self.mend_step)),
        )

    def save_model(self, request: HttpRequest, obj: SymbolAlias, form: Any, change: bool) -> None:
        before = form.initial.get("instrument", "") if change else ""
        super().save_model(request, obj, form, change)
        request.hub_mapped = [*getattr(request, "hub_mapped", []), (obj, before)]  # type: ignore[attr-defined]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return self._after_saving(request, super().changelist_view(request, extra_context))

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._after_saving(request, super().changeform_view(request, *args, **kwargs))

    def map_one(self, request: HttpRequest, pk: int, **_: Any) -> HttpResponse:
        """Map a symbol to what its button says, and mend its rows."""
        alias = get_object_or_404(SymbolAlias, pk=pk)
        name = request.POST.get("map", "")
        if not self.has_change_permission(request, alias) or not NAME.fullmatch(name):
            return HttpResponse(status=403)
        before, alias.instrument = alias.instrument, aliases.cleaned(alias.ecosystem, name)
        alias.save(update_fields=["instrument"])
        _log(request, alias, f"Mapped to {alias.instrument}.")
        return self._mend(request, alias, before) or HttpResponseRedirect(
            reverse("admin:aggregator_symbolalias_changelist") + "?mapped=no"
        )

    def mend_page(self, request: HttpRequest, pk: int, **_: Any) -> HttpResponse:
        """Show how far the mending of a symbol's rows is; a script does it step by step."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        alias = get_object_or_404(SymbolAlias, pk=pk)
        step = reverse("admin:aggregator_symbolalias_step", args=[pk])
        context = {
            **self.admin_site.each_context(request),
            "title": f"Mend {alias.symbol}",
            "text": f"The rows of {alias.symbol} get the name {alias.instrument or alias.symbol}.",
            "button": "Mend",
            "step": f"{step}?{request.GET.urlencode()}",
            "after": request.GET.get("after") or aliases.Mark(),
            "back": reverse("admin:aggregator_symbolalias_changelist"),
            "allowed": self.has_change_permission(request, alias),
            "opts": self.opts,
        }
        return render(request, "admin/hub/steps.html", context)

    def mend_step(self, request: HttpRequest, pk: int, **_: Any) -> HttpResponse:
        alias = get_object_or_404(SymbolAlias, pk=pk)
        if not self.has_change_permission(request, alias):
            return JsonResponse({"error": "You may not map symbols."}, status=403)
        try:
            mark = aliases.Mark.read(request.POST.get("after", ""))
            count, after = aliases.mend(alias, request.GET.get("before"), mark)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        except Outage as outage:
            return JsonResponse({"error": str(outage)}, status=503)
        told = {"signals mended": count}
        return JsonResponse({"count": count, "after": str(after), "finished": after is None, "told": told})

    @action(description="Mend rows again", permissions=["change"], icon="build")  # type: ignore[untyped-decorator]
    def mend_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Look through all rows, whatever they are called: for a mending that was cut short."""
        return HttpResponseRedirect(reverse("admin:aggregator_symbolalias_mend", args=[int(object_id)]))

    def _after_saving(self, request: HttpRequest, response: Any) -> Any:
        """Mend what this request has mapped, now that its transaction is committed."""
        for alias, before in getattr(request, "hub_mapped", []):
            response = self._mend(request, alias, before) or response
        return response

    def _mend(self, request: HttpRequest, alias: SymbolAlias, before: str) -> HttpResponse | None:
        """Mend for AT_ONCE_S; return where to go on if that was not enough."""
        called = before or instrument(alias.ecosystem, alias.symbol)
        deadline = time.monotonic() + AT_ONCE_S
        total, mark = 0, aliases.Mark()
        while time.monotonic() <= deadline:
            try:
                count, further = aliases.mend(alias, called, mark)
            except Outage as outage:
                messages.warning(request, f"{alias} is mapped, but not all of its rows are mended: {outage}.")
                break
            total += count
            if further is None:
                name = alias.instrument or alias.symbol
                signals = "1 signal is" if total == 1 else f"{total:,} signals are"
                messages.success(request, f"{alias}: {signals} called {name} now.")
                return None
            mark = further
        query = urlencode({"before": called, "after": str(mark)})
        return HttpResponseRedirect(
            reverse("admin:aggregator_symbolalias_mend", args=[alias.pk]) + f"?{query}"
        )

    @admin.display(description="one click")
    def one_click(self, alias: SymbolAlias) -> SafeString | str:
        name = "" if alias.instrument else aliases.suggestion(alias.ecosystem, alias.symbol)
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


def _log(request: HttpRequest, alias: SymbolAlias, message: str) -> None:
    LogEntry.objects.log_actions(int(request.user.pk or 0), [alias], CHANGE, change_message=message)
