"""The public track records: of agents that an operator has published, with a CSV of the rows behind them."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from csp.decorators import csp_replace
from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.http import require_safe

from aggregator.http.problems import Problem
from aggregator.http.rate_limits import rate_limiter
from aggregator.http.sign_in_limits import address_of_client
from aggregator.models import Agent, Outcome, TradingSignal
from aggregator.track_record import statistics
from aggregator.track_record.equity_chart import equity_chart
from aggregator.transparency import log_tables
from aggregator.transparency.record_csv import RecordCsv
from commerce.api.base import json
from commerce.api.outcomes import current_horizon, record_body
from commerce.pages import context
from ecosystems.market.scoring import UNDECIDED

MAX_CALLS_SHOWN = 25
MAX_AGENTS_SHOWN = 200
REQUESTS_PER_CLIENT = "120/minute"
"""From one address: the figures of 100,000 calls take the database a fifth of a second."""


def _limited(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Decorate a view that is open to everyone and costs the database something."""

    @wraps(view)
    def limited(request: HttpRequest, **arguments: str) -> HttpResponseBase:
        limiter = rate_limiter(settings.ENVIRONMENT)
        try:
            limiter.hit(REQUESTS_PER_CLIENT, "records for", address_of_client(request))
        except Problem as problem:
            return problem.response()
        return view(request, **arguments)

    return limited


@require_safe
@_limited
def index(request: HttpRequest) -> HttpResponse:
    """Show the published agents with their most telling figures."""
    agents = Agent.objects.filter(published_at__isnull=False).order_by("ecosystem", "agent_source")
    rows = []
    for agent in agents[:MAX_AGENTS_SHOWN]:
        simulated = not _has(agent, simulated=False) and _has(agent, simulated=True)
        calls = _calls(agent, simulated=simulated)
        record = statistics.record_of(calls, agent.ecosystem)
        slug = agent.agent_source or "-"
        rows.append({"agent": agent, "slug": slug, "record": record, "simulated": simulated})
    page = context.page_context(request, "Track records", rows=rows, log=log_tables.head())
    return render(request, "commerce/pages/records.html", page)


@require_safe
@_limited
def agent_record(request: HttpRequest, ecosystem: str, agent: str) -> HttpResponseBase:
    """Show an agent's record: as a page, as a card to embed, as CSV, or its figures as JSON."""
    found = get_object_or_404(
        Agent, ecosystem=ecosystem, agent_source="" if agent == "-" else agent, published_at__isnull=False
    )
    form = request.GET.get("format", "")
    if form == "csv":
        delay = settings.ENVIRONMENT.record_delay
        rows = RecordCsv(ecosystem, found.agent_source, public_calls(found), delay)
        name = re.sub(r"[^\w.-]", "_", f"{ecosystem}-{agent}.csv")
        disposition = content_disposition_header(as_attachment=True, filename=name)
        headers = {"Content-Disposition": disposition, "Cache-Control": "no-cache"}
        return StreamingHttpResponse(rows.lines(), content_type="text/csv; charset=utf-8", headers=headers)
    if form not in {"", "json"}:
        raise Http404
    has_real, has_simulated = (_has(found, simulated=simulated) for simulated in (False, True))
    simulated = has_simulated and not has_real
    if "simulated" in request.GET:
        simulated = request.GET["simulated"] == "1"
    calls = _calls(found, simulated=simulated)
    record = statistics.record_of(calls, ecosystem)
    if form == "json":  # which `examples/verify_record.py` compares
        return json(record_body(record, ecosystem, found.agent_source, simulated=simulated))
    content = {
        "agent": found,
        "name": found.agent_source or "(unnamed)",
        "slug": found.agent_source or "-",
        "record": record,
        "simulated": simulated,
        "has_real": has_real,
        "has_simulated": has_simulated,
        "chart": equity_chart(record.equity),
    }
    if request.GET.get("embed") == "1":
        return _card(request, content)
    return _page(request, found, calls, content)


def _card(request: HttpRequest, content: dict[str, Any]) -> HttpResponseBase:
    """Return the card, which pages of any origin may embed."""
    framed = csp_replace({"frame-ancestors": ["*"]})
    card = framed(lambda request: render(request, "commerce/pages/record_card.html", content))
    return xframe_options_exempt(card)(request)


def _page(
    request: HttpRequest, agent: Agent, calls: QuerySet[Outcome], content: dict[str, Any]
) -> HttpResponse:
    record: statistics.Record = content["record"]
    shown = list(calls.order_by("-position")[:MAX_CALLS_SHOWN])
    signals = TradingSignal.objects.filter(position__in=[call.position for call in shown]).defer(
        "raw_payload"
    )
    by_position = {signal.position: signal for signal in signals}
    content |= {
        "groups_by_title": [
            ("Month", record.by_month[::-1]),
            ("Instrument", record.by_instrument),
        ],
        # A signal that was deleted is found by the transparency log, not by an error here.
        "calls": [(by_position[call.position], call) for call in shown if call.position in by_position],
        "delay": settings.ENVIRONMENT.record_delay,
        "horizon_hours": current_horizon(agent.ecosystem, agent.agent_source),
        "log": log_tables.head(),
    }
    title = f"Track record of {content['name']}"
    return render(request, "commerce/pages/record.html", context.page_context(request, title, **content))


def public_calls(agent: Agent) -> QuerySet[Outcome]:
    """Return the calls that the public may see: those that are open are hidden for CORE_RECORD_DELAY."""
    calls = Outcome.objects.filter(ecosystem=agent.ecosystem, agent_source=agent.agent_source)
    delay: timedelta = settings.ENVIRONMENT.record_delay
    if not delay:
        return calls
    young = timezone.now() - delay
    # t0 of a real call is its recording, that of a simulated one its timestamp.
    recorded = Q(simulated=False, t0__gt=young) | Q(simulated=True, t0__gt=young - F("lag"))
    # By position, since the statistics of decided calls are made from an index that lacks `t0`.
    return calls.exclude(position__in=calls.filter(recorded, state__in=UNDECIDED).values("position"))


def _calls(agent: Agent, *, simulated: bool) -> QuerySet[Outcome]:
    return public_calls(agent).filter(simulated=simulated)


def _has(agent: Agent, *, simulated: bool) -> bool:
    return _calls(agent, simulated=simulated).exists()
