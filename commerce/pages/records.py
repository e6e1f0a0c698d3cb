"""The public track records: of agents that an operator has published, with a CSV of the rows behind them."""

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from csp.decorators import csp_replace
from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.http import require_safe

from aggregator.models import Agent, Outcome, TradingSignal
from aggregator.track_record import statistics
from aggregator.transparency import log_status
from aggregator.transparency.openings import opening_lines
from commerce.feed.outcome_serializer import decimal_text
from commerce.pages import context
from ecosystems.market.performance import Equity
from ecosystems.market.scoring import UNDECIDED

MAX_CALLS_SHOWN = 50
MAX_AGENTS_SHOWN = 200
CSV_ROWS = 2000
CHART_WIDTH, CHART_HEIGHT = 640, 160

CALL_COLUMNS = (
    "signal_id",
    "timestamp",
    "recorded_at",
    "action",
    "signal_type",
    "entry_price",
    "stop_loss",
    "take_profit",
)
OUTCOME_COLUMNS = (
    "state",
    "exit_reason",
    "entered_at",
    "entry_price",
    "exited_at",
    "exit_price",
    "gross_return",
    "net_return",
    "r_multiple",
    "mfe_r",
    "mae_r",
    "slippage",
    "ambiguous",
    "scored_to",
    "horizon_hours",
    "fee_bps",
    "rule_version",
)
HEADER = (
    "position",
    "ecosystem",
    "agent",
    "instrument",
    "simulated",
    "t0",
    *("claimed_price" if name == "entry_price" else name for name in CALL_COLUMNS),
    *OUTCOME_COLUMNS,
    "feed",
    "candle_seconds",
    "daily_r",
)


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show the published agents with their most telling figures."""
    agents = Agent.objects.filter(published_at__isnull=False).order_by("ecosystem", "agent_source")
    rows = []
    for agent in agents[:MAX_AGENTS_SHOWN]:
        simulated = not _calls(agent, simulated=False).exists()
        calls = _calls(agent, simulated=simulated)
        record = statistics.record_of(calls, agent.ecosystem)
        slug = agent.agent_source or "-"
        rows.append({"agent": agent, "slug": slug, "record": record, "simulated": simulated})
    page = context.page_context(request, "Track records", rows=rows, log=log_status.badge())
    return render(request, "commerce/pages/records.html", page)


@require_safe
def agent_record(request: HttpRequest, ecosystem: str, agent: str) -> HttpResponseBase:
    """Show an agent's record: as a page, as a card to embed, or as CSV."""
    found = get_object_or_404(
        Agent, ecosystem=ecosystem, agent_source="" if agent == "-" else agent, published_at__isnull=False
    )
    form = request.GET.get("format", "")
    if form == "csv":
        return _download(f"{ecosystem}-{agent}.csv", csv_lines(found))
    if form == "proofs":
        # Every leaf has to be in it, those of open calls too.
        if settings.ENVIRONMENT.record_delay:
            raise Http404
        return _download(f"{ecosystem}-{agent}-proofs.csv", opening_lines(ecosystem, found.agent_source))
    if form:
        raise Http404
    if request.GET.get("embed") != "1":
        return _page(request, found)

    def card(request: HttpRequest) -> HttpResponseBase:
        return _card(request, found)

    return xframe_options_exempt(csp_replace({"frame-ancestors": ["*"]})(card))(request)


def _page(request: HttpRequest, agent: Agent) -> HttpResponse:
    simulated = _wants_simulated(request, agent)
    calls = _calls(agent, simulated=simulated)
    record = statistics.record_of(calls, agent.ecosystem)
    shown = list(calls.order_by("-position")[:MAX_CALLS_SHOWN])
    signals = TradingSignal.objects.filter(position__in=[call.position for call in shown]).defer(
        "raw_payload"
    )
    by_position = {signal.position: signal for signal in signals}
    content = {
        "agent": agent,
        "name": agent.agent_source or "(unnamed)",
        "record": record,
        "simulated": simulated,
        "has_real": _calls(agent, simulated=False).exists(),
        "has_simulated": _calls(agent, simulated=True).exists(),
        "chart": equity_chart(record.equity),
        "groups_by_title": [
            ("Month", statistics.by_month(calls)),
            ("Instrument", statistics.by_instrument(calls)),
        ],
        # A signal that somebody has deleted is found by the transparency log, not by an error here.
        "calls": [(by_position[call.position], call) for call in shown if call.position in by_position],
        "delay": settings.ENVIRONMENT.record_delay,
        "log": log_status.badge(),
    }
    title = f"Track record of {agent.agent_source or '(unnamed)'}"
    return render(request, "commerce/pages/record.html", context.page_context(request, title, **content))


def _card(request: HttpRequest, agent: Agent) -> HttpResponse:
    simulated = _wants_simulated(request, agent)
    record = statistics.record_of(_calls(agent, simulated=simulated), agent.ecosystem)
    content = {
        "agent": agent,
        "name": agent.agent_source or "(unnamed)",
        "slug": agent.agent_source or "-",
        "record": record,
        "simulated": simulated,
        "chart": equity_chart(record.equity),
    }
    return render(request, "commerce/pages/record_card.html", content)


def _wants_simulated(request: HttpRequest, agent: Agent) -> bool:
    """Return whether simulated calls are shown: where they are asked for, or there are no others."""
    if "simulated" in request.GET:
        return request.GET["simulated"] == "1"
    return not _calls(agent, simulated=False).exists()


def public_calls(agent: Agent) -> QuerySet[Outcome]:
    """Return the calls that the public may see: those that are open are hidden for CORE_RECORD_DELAY."""
    calls = Outcome.objects.filter(ecosystem=agent.ecosystem, agent_source=agent.agent_source)
    delay: timedelta = settings.ENVIRONMENT.record_delay
    if not delay:
        return calls
    young = timezone.now() - delay
    # t0 of a real call is its recording, that of a simulated one its timestamp.
    recorded = Q(simulated=False, t0__gt=young) | Q(simulated=True, t0__gt=young - F("lag"))
    return calls.exclude(recorded & Q(state__in=UNDECIDED))


def _calls(agent: Agent, *, simulated: bool) -> QuerySet[Outcome]:
    return public_calls(agent).filter(simulated=simulated)


def _signals_of(calls: list[Outcome]) -> dict[int | None, TradingSignal]:
    rows = TradingSignal.objects.filter(position__in=[call.position for call in calls])
    return {signal.position: signal for signal in rows.defer("raw_payload")}


def csv_lines(agent: Agent) -> Iterator[str]:
    """Yield the lines of a CSV of exactly the rows that the figures are made of, real and simulated ones."""
    yield _csv_line(HEADER)
    after = 0
    while True:
        rows = public_calls(agent).filter(position__gt=after).order_by("position")
        calls = list(rows.select_related("series")[:CSV_ROWS])
        by_position = _signals_of(calls)
        for call in calls:
            if call.position in by_position:
                yield _csv_line(_csv_values(by_position[call.position], call))
        if len(calls) < CSV_ROWS:
            return
        after = calls[-1].position


def _csv_values(signal: TradingSignal, call: Outcome) -> list[str]:
    values: list[Any] = [
        call.position,
        call.ecosystem,
        call.agent_source,
        call.instrument,
        call.simulated,
        call.t0,
        *(getattr(signal, name) for name in CALL_COLUMNS),
        *(getattr(call, name) for name in OUTCOME_COLUMNS),
        call.series.feed if call.series else "",
        call.series.seconds if call.series else "",
        " ".join(decimal_text(value) or "" for value in call.daily_r),
    ]
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return decimal_text(value) or ""
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).replace("+00:00", "Z")
    text = str(value)
    # A spreadsheet would take it for a formula.
    return f"'{text}" if text[:1] in {"=", "+", "-", "@"} and not text[1:2].isdigit() else text


def _csv_line(values: Any) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue()


def _download(name: str, lines: Iterator[str]) -> StreamingHttpResponse:
    safe = "".join(character if character.isalnum() or character in "-._" else "_" for character in name)
    headers = {"Content-Disposition": f'attachment; filename="{safe}"', "Cache-Control": "no-cache"}
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)


def equity_chart(equity: Equity) -> dict[str, Any] | None:
    """Return the equity as points of a line, with its bounds; None for less than two days."""
    if len(equity) < 2:
        return None
    values = [float(value) for _, value in equity]
    low, high = min(0.0, *values), max(0.0, *values)
    scale = CHART_HEIGHT / ((high - low) or 1.0)
    step = CHART_WIDTH / (len(values) - 1)
    days: tuple[date, date] = (equity[0][0], equity[-1][0])
    return {
        "points": " ".join(f"{n * step:.1f},{(high - value) * scale:.1f}" for n, value in enumerate(values)),
        "zero": f"{high * scale:.1f}",
        "width": CHART_WIDTH,
        "height": CHART_HEIGHT,
        "low": low,
        "high": high,
        "first": days[0],
        "last": days[1],
        "end": values[-1],
    }
