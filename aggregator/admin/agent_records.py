"""An agent's track record on its page in the admin: figures, equity, and its calls a page at a time."""

from typing import Any

import msgspec
from django.db.models import QuerySet
from django.http import QueryDict

from aggregator.admin.base import url_number
from aggregator.models import Agent, Outcome, TradingSignal
from aggregator.track_record import statistics
from aggregator.track_record.equity_chart import equity_chart

CALLS_PER_PAGE = 50


class CallPage(msgspec.Struct, frozen=True):
    """Calls, newest first, each with its signal, which may have been deleted."""

    rows: list[tuple[Outcome, TradingSignal | None]]
    older: str
    """The URL's query of the next page; empty on the last one."""
    newer: str


def agent_record_context(agent: Agent, query: QueryDict) -> dict[str, Any]:
    """Return what an agent's page shows: of its real calls, unless it has none or `query` says so."""
    outcomes = Outcome.objects.filter(ecosystem=agent.ecosystem, agent_source=agent.agent_source)
    has = {simulated: outcomes.filter(simulated=simulated).exists() for simulated in (False, True)}
    simulated = query.get("simulated") == "1" if "simulated" in query else has[True] and not has[False]
    calls = outcomes.filter(simulated=simulated)
    record = statistics.record_of(calls, agent.ecosystem)
    state = query.get("state") if query.get("state") in record.states else None
    kept = {"simulated": str(int(simulated))} | ({"state": state} if state else {})
    return {
        "record": record,
        "simulated": simulated,
        "has_real": has[False],
        "has_simulated": has[True],
        "chart": equity_chart(record.equity),
        "state": state,
        "calls": _page(calls.filter(state=state) if state else calls, query, kept),
    }


def _page(calls: QuerySet[Outcome], query: QueryDict, kept: dict[str, str]) -> CallPage:
    """Return the calls before or after the position in `query`; without one the newest."""
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
    return CallPage(
        [(call, by_position.get(call.position)) for call in shown],
        _query(kept, "before", shown[-1].position) if has_older else "",
        _query(kept, "after", shown[0].position if shown else before or 0) if has_newer else "",
    )


def _query(kept: dict[str, str], name: str, position: int) -> str:
    query = QueryDict(mutable=True)
    query.update(kept | {name: str(position)})
    return f"?{query.urlencode()}#calls"
