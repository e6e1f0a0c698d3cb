"""Agents: the cadence expected of each, and its track record, with its calls a page at a time."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldBooleanSwitchWidget

from aggregator.admin.base import url_number
from aggregator.admin.filters import EcosystemFilter
from aggregator.models import Agent, AgentHorizon, Outcome, TradingSignal
from aggregator.templatetags.hub import ago, span
from aggregator.track_record import statistics
from aggregator.track_record.equity_chart import equity_chart

CALLS_PER_PAGE = 50
MAX_HORIZON_HOURS = Decimal(99_999)
"""Of open market: of the NYSE's some sixty years, as many as a process keeps calendars of."""


class AgentForm(forms.ModelForm):  # type: ignore[type-arg]
    is_published = forms.BooleanField(
        label="Publish its track record",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Shows all its calls to everybody at /record/, earlier ones included.",
    )
    horizon_hours = forms.DecimalField(
        label="Time stop",
        required=False,
        min_value=Decimal("0.01"),
        max_value=MAX_HORIZON_HOURS,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Hours of open market after which calls recorded from now on expire. "
        "Empty: crypto 720, forex 504, stock 136.5.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["is_published"].initial = self.instance.published_at is not None
        self.fields["horizon_hours"].initial = horizon_of(self.instance)

    def clean_expected_cadence(self) -> timedelta | None:
        cadence: timedelta | None = self.cleaned_data["expected_cadence"]
        if cadence is not None and cadence <= timedelta():
            raise forms.ValidationError("Enter a time longer than none.")
        return cadence

    class Meta:
        model = Agent
        fields = ("expected_cadence",)
        help_texts = {
            "expected_cadence": "Longest usual time between two signals while the market is open. After it "
            "the agent is silent. Example: 0:15:00 for 15 minutes. Empty to use the learned cadence."
        }


def horizon_of(agent: Agent) -> Decimal | None:
    """Return the time stop that an operator set for an agent, if any."""
    rows = AgentHorizon.objects.filter(ecosystem=agent.ecosystem, agent_source=agent.agent_source)
    known = rows.order_by("set_at", "id").last()
    return known.hours if known else None


@admin.register(Agent)
class AgentAdmin(ModelAdmin):  # type: ignore[misc] # the package has no types
    form = AgentForm
    list_display = ("name", "ecosystem", "seen", "last_transport", "count", "expected", "view_signals")
    list_filter = (EcosystemFilter,)
    list_filter_submit = True
    search_fields = ("agent_source",)
    ordering = ("-last_seen",)
    actions = None
    show_full_result_count = False
    readonly_fields = ("ecosystem", "agent_source", "first_seen", "last_seen", "last_transport", "count")
    change_form_after_template = "admin/hub/agent_after.html"
    fields = (*readonly_fields, "expected_cadence", "is_published", "horizon_hours")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Agent, **kwargs: Any
    ) -> HttpResponse:
        context |= _record_context(obj, request.GET)
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)  # type: ignore[no-any-return]

    def save_model(self, request: HttpRequest, obj: Agent, form: Any, change: bool) -> None:
        """Save it: since when it is public, and a time stop that is new, with the operator's name."""
        if not form.cleaned_data.get("is_published"):
            obj.published_at = None
        elif obj.published_at is None:
            obj.published_at = timezone.now()
        super().save_model(request, obj, form, change)
        hours = form.cleaned_data.get("horizon_hours")
        if hours != horizon_of(obj):
            AgentHorizon.objects.create(
                ecosystem=obj.ecosystem,
                agent_source=obj.agent_source,
                hours=hours,
                set_by=request.user.get_username(),
            )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        agents: QuerySet[Any] = super().get_queryset(request).annotate(learned=F("cadence__gap"))
        return agents

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # an agent exists once it has sent a signal

    @admin.display(description="agent")
    def name(self, agent: Agent) -> str:
        return agent.agent_source or "(unnamed)"

    @admin.display(description="last seen", ordering="last_seen")
    def seen(self, agent: Agent) -> str:
        return ago(agent.last_seen) if agent.signals else "Only replayed"

    @admin.display(description="signals", ordering="signals")
    def count(self, agent: Agent) -> str:
        return f"{agent.signals:,}"

    @admin.display(description="expected cadence")
    def expected(self, agent: Any) -> str:
        if not agent.signals:
            return "—"
        if agent.expected_cadence is not None:
            return f"{span(agent.expected_cadence)}, set manually"
        return "Not learned yet" if agent.learned is None else f"{span(agent.learned)}, learned"

    @admin.display(description="")
    def view_signals(self, agent: Agent) -> str:
        query = urlencode({"ecosystem": agent.ecosystem, "agent": agent.agent_source or "-"})
        address = reverse("admin:aggregator_tradingsignal_changelist")
        return format_html('<a class="hub-link" href="{}?{}">View signals</a>', address, query)


def _record_context(agent: Agent, query: QueryDict) -> dict[str, Any]:
    """Return what an agent's page shows: of its real calls, unless it has none or `query` says so."""
    outcomes = Outcome.objects.filter(ecosystem=agent.ecosystem, agent_source=agent.agent_source)
    has = {simulated: outcomes.filter(simulated=simulated).exists() for simulated in (False, True)}
    simulated = query.get("simulated") == "1" if "simulated" in query else has[True] and not has[False]
    calls = outcomes.filter(simulated=simulated)
    record = statistics.record_of(calls, agent.ecosystem)
    state = query.get("state") if query.get("state") in record.states else None
    return {
        "record": record,
        "simulated": simulated,
        "has_real": has[False],
        "has_simulated": has[True],
        "chart": equity_chart(record.equity),
        "state": state,
        "calls": _page(calls.filter(state=state) if state else calls, query),
    }


def _page(calls: QuerySet[Outcome], query: QueryDict) -> dict[str, Any]:
    """Return the calls before or after the position in `query`; without one the newest.

    `rows` are the calls, newest first, each with its signal, which may have been deleted; `older` and `newer`
    are the positions from which the next pages go on, None where there is none.
    """
    before, after = url_number(query.get("before")), url_number(query.get("after"))
    if after is not None:
        found = list(calls.filter(position__gt=after).order_by("position")[: CALLS_PER_PAGE + 1])
        shown = found[:CALLS_PER_PAGE][::-1]
        has_newer, has_older = len(found) > CALLS_PER_PAGE, bool(shown)
    else:
        rows = calls.filter(position__lt=before) if before is not None else calls
        found = list(rows.order_by("-position")[: CALLS_PER_PAGE + 1])
        shown = found[:CALLS_PER_PAGE]
        has_newer, has_older = before is not None, len(found) > CALLS_PER_PAGE
    signals = TradingSignal.objects.filter(position__in=[call.position for call in shown])
    by_position = {signal.position: signal for signal in signals.defer("raw_payload")}
    return {
        "rows": [(call, by_position.get(call.position)) for call in shown],
        "older": shown[-1].position if has_older else None,
        "newer": (shown[0].position if shown else before or 0) if has_newer else None,
    }
