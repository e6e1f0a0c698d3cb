"""The ledger's signals in the admin: list, search, one signal, export."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, get_args

import msgspec
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.utils import parse_datetime_str
from unfold.views import ChangeList

from aggregator.admin.base import ReadOnlyAdmin, raw_json, selected_list, url_number
from aggregator.admin.export import FORMATS
from aggregator.admin.filters import AgentFilter, ChoiceFilter, EcosystemFilter, TransportFilter, agent_name
from aggregator.ledger import pager
from aggregator.ledger.bisection import first_id
from aggregator.models import Agent, Outcome, OutcomeEvent, TradingSignal
from aggregator.templatetags.hub import ago, span
from aggregator.track_record.call_chart import call_chart, claimed_as, stops_and_targets
from aggregator.transparency.proofs import signal_proof
from ecosystems import ECOSYSTEMS
from ecosystems.signal import Action, decimal_text

CURSORS = ("before", "after")
PER_PAGE = 50
MAX_SIGHTINGS = 200
MAX_REFERRING = 50
MAX_EVENTS_SHOWN = 50
MAX_CLOCK_DIFFERENCE = timedelta(seconds=1)
"""Two machines' clocks may differ by as much without a fault."""
MAX_ID_DELAY = timedelta(minutes=5)
"""How much later than its `received_at`, the start of its transaction, a row may have got its id."""


class ActionFilter(ChoiceFilter):
    title = parameter_name = "action"
    offered = [(action, action) for action in get_args(Action)]


class ReceivedFilter(RangeDateTimeFilter):  # type: ignore[misc] # the package has no types
    """Time of receipt, which bounds the ids to look at."""

    low = pager.LOWEST
    high = pager.HIGHEST

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        start, end = self._moment("from", "00:00"), self._moment("to", "23:59:59.999999")
        if start:
            queryset = queryset.filter(received_at__gte=start)
            with suppress(OverflowError):  # the calendar's first day bounds no ids, nor does its last
                self.low = first_id(start - MAX_ID_DELAY) - 1
        if end:
            queryset = queryset.filter(received_at__lte=end)
            with suppress(OverflowError):
                self.high = first_id(end + MAX_ID_DELAY)
        return queryset

    def _moment(self, which: str, default_time: str) -> Any:
        day = self.used_parameters.get(f"received_at_{which}_0")
        time = self.used_parameters.get(f"received_at_{which}_1") or default_time
        moment = parse_datetime_str(f"{day} {time}") if day else None
        return timezone.make_aware(moment) if moment and timezone.is_naive(moment) else moment


class _NoPages:
    """Takes the place of Django's paginator: pages are found by key."""

    template_name = "admin/hub/keyset.html"
    num_pages = 1
    per_page = PER_PAGE


class KeysetChangeList(ChangeList):  # type: ignore[misc]
    """A change list of the pages of a `pager.Search`."""

    query: str
    search: pager.Search
    page: pager.Page

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        given: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in given.items() if name not in CURSORS}

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        term, self.query = self.query, ""  # the term is looked up by index, not by the framework's LIKE
        base: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        self.query = term
        chosen = [name for name in ECOSYSTEMS if request.GET.get("ecosystem") in {None, "", name}]
        received = next((spec for spec in self.filter_specs if isinstance(spec, ReceivedFilter)), None)
        agent = request.GET.get("agent")
        if term.strip():
            self.search = pager.search(base, term.strip(), chosen)
        elif agent:
            self.search = pager.Search(base, [("agent_source", agent_name(agent))])
        else:
            self.search = pager.Search(base)
        if received:
            self.search.low, self.search.high = received.low, received.high
        return base

    def get_results(self, request: HttpRequest) -> None:
        cursors = {name: url_number(request.GET.get(name)) for name in CURSORS}
        try:
            self.page = self.search.page(PER_PAGE, **cursors)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") != "57014":
                raise
            messages.warning(request, "The search took too long. Narrow it, for instance by time.")
            self.page = pager.Page([])
        self.newer, self.older = self._link("after", self.page.newer), self._link("before", self.page.older)
        self.result_list = self.page.rows
        self.result_count = self.full_result_count = len(self.page.rows)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False
        self.paginator = _NoPages()

    def _link(self, name: str, cursor: int | None) -> str:
        """Return the URL of another page of this list; empty where there is none."""
        return "" if cursor is None else self.get_query_string({name: cursor}, remove=list(CURSORS))

    def searched_back_to(self) -> datetime | None:
        """Return when the oldest signal that an unfinished page looked at was received."""
        last = TradingSignal.objects.filter(pk=self.page.older or 0).values_list("received_at", flat=True)
        return last.first()


@admin.register(TradingSignal)
class SignalAdmin(ReadOnlyAdmin):
    list_display = (
        "time",
        "ecosystem",
        "name",
        "side",
        "price",
        "agent",
        "transport",
        "sender",
        "late",
        "signal_id",
    )
    list_filter = (
        EcosystemFilter,
        ActionFilter,
        TransportFilter,
        AgentFilter,
        ("received_at", ReceivedFilter),
    )
    list_filter_submit = True
    list_display_links = ("time",)
    search_fields = ("signal_id",)
    search_help_text = "Instrument, agent or id"
    ordering = ("-pk",)
    sortable_by = ()
    actions = None
    list_fullwidth = True
    show_full_result_count = False
    list_before_template = "admin/hub/signals_before.html"
    change_form_after_template = "admin/hub/signal_after.html"
    identity = (("ecosystem", "signal_id"), ("instrument", "symbol"), ("action", "signal_type"), "refers_to")
    values = (("entry_price", "volume"), ("stop_loss", "take_profit"), ("confidence", "tags"))
    origin = (("agent_source", "sender"), ("transport", "position"), ("timestamp", "received_at"), "number")
    fieldsets = (
        (None, {"fields": identity}),
        ("Values", {"fields": values}),
        ("Origin", {"fields": origin}),
        ("Raw payload", {"fields": ("payload",)}),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def get_custom_urls(self) -> tuple[Any, ...]:
        return (
            ("export.<str:form>", "aggregator_tradingsignal_export", self.export),
            ("<int:signal_id>/proof.json", "aggregator_tradingsignal_proof", self.proof),
        )

    def export(self, request: HttpRequest, form: str, **_: Any) -> StreamingHttpResponse:
        """Stream the signals that the list's URL selects, as CSV or JSON lines."""
        if form not in FORMATS:
            raise Http404
        if not self.has_view_permission(request):
            raise PermissionDenied
        content_type, lines = FORMATS[form]
        search = selected_list(self, request).search
        name = f"signals-{timezone.now():%Y%m%dT%H%M%SZ}.{form}"
        return StreamingHttpResponse(
            lines(search),
            content_type=content_type,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def proof(self, request: HttpRequest, signal_id: int, **_: Any) -> HttpResponse:
        """Download the proof that a signal is in the transparency log."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        signal = self.get_object(request, str(signal_id))
        proof = signal_proof(signal.position) if signal and signal.position else None
        if signal is None or proof is None:
            raise Http404
        return HttpResponse(
            msgspec.json.format(msgspec.json.encode(proof), indent=2),
            content_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="proof-{signal_id}.json"'},
        )

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: TradingSignal, **kwargs: Any
    ) -> HttpResponse:
        context |= _around(obj) | _outcome(obj) | {"proof": signal_proof(obj.position or 0)}
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)  # type: ignore[no-any-return]

    @admin.display(description="received")
    def time(self, signal: TradingSignal) -> str:
        return ago(signal.received_at)

    @admin.display(description="instrument")
    def name(self, signal: TradingSignal) -> str:
        return signal.instrument or signal.symbol

    @admin.display(description="action")
    def side(self, signal: TradingSignal) -> str:
        amends = "amends" if signal.refers_to and signal.action in {"BUY", "SELL"} else ""
        words = (f"{signal.action} {signal.signal_type.lower()}", amends, signal.simulation)
        return ", ".join(filter(None, words))

    @admin.display(description="price")
    def price(self, signal: TradingSignal) -> str:
        return decimal_text(signal.entry_price) or "—"

    @admin.display(description="agent")
    def agent(self, signal: TradingSignal) -> str:
        return signal.agent_source or "(unnamed)"

    @admin.display(description="lag")
    def late(self, signal: TradingSignal) -> str:
        late = signal.received_at - signal.timestamp
        return span(late) if late > -MAX_CLOCK_DIFFERENCE else f"{span(-late)} ahead"

    @admin.display(description="id")
    def number(self, signal: TradingSignal) -> int:
        return signal.pk

    @admin.display(description="raw payload")
    def payload(self, signal: TradingSignal) -> str:
        written = TradingSignal.objects.filter(pk=signal.pk).values_list(Cast("raw_payload", TextField()))
        return raw_json(written.get()[0])


def _outcome(signal: TradingSignal) -> dict[str, Any]:
    """Return what became of a call; nothing for a signal that is no call."""
    if signal.action not in {"BUY", "SELL"} or signal.refers_to is not None:
        return {}
    if signal.signal_type not in {"MARKET", "LIMIT", "STOP"}:
        return {}
    call = Outcome.objects.select_related("series").filter(position=signal.position or 0).first()
    if call is None:
        return {"is_call": True}
    chart = call_chart(call, signal)
    agent = Agent.objects.filter(ecosystem=signal.ecosystem, agent_source=signal.agent_source).first()
    return {
        "is_call": True,
        "call": call,
        "call_agent": agent,
        "call_claim": claimed_as(signal),
        "call_levels": zip(("Stop", "Target"), stops_and_targets(call, signal), strict=True),
        "call_worst": None if call.mae_r is None else -call.mae_r,
        "call_chart": chart,
        "call_drawing": chart and chart.drawing,
        "call_events": OutcomeEvent.objects.filter(position=call.position).order_by("-id")[:MAX_EVENTS_SHOWN],
    }


def _around(signal: TradingSignal) -> dict[str, Any]:
    """Return how a signal arrived, and the signals before and after it, each by one look-up in an index."""
    rows = TradingSignal.objects.order_by()
    lines = (
        ("in the ledger", rows),
        ("of this agent", rows.filter(agent_source=signal.agent_source)),
        ("of this instrument", rows.filter(instrument=signal.instrument)),
    )
    refers_here = rows.filter(
        refers_to=signal.signal_id, ecosystem=signal.ecosystem, agent_source=signal.agent_source
    )
    named = rows.filter(ecosystem=signal.ecosystem, signal_id=signal.refers_to)
    return {
        "target": None if signal.refers_to is None else named.first(),
        "referring": refers_here.order_by("-pk")[:MAX_REFERRING],
        "sightings": signal.sightings.order_by("seen_at")[:MAX_SIGHTINGS],
        "adjacent": [
            (
                words,
                line.filter(pk__lt=signal.pk).order_by("-pk").first(),
                line.filter(pk__gt=signal.pk).order_by("pk").first(),
            )
            for words, line in lines
        ],
    }
