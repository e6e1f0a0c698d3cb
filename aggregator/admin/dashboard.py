"""The admin's index page. It reads rollups alone, so that its cost does not grow with the ledger."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode

from aggregator import followers
from aggregator.admin import transport_guides
from aggregator.arrivals import liveness, queries
from aggregator.arrivals.silence import Liveness
from aggregator.background import BackgroundValue
from aggregator.health.checks import CheckResult, Status
from aggregator.health.freshness_check import FreshnessCheck
from aggregator.health.redis_check import NOT_CONFIGURED
from aggregator.health.runner import check_runner
from aggregator.ingest import stream_state
from aggregator.models import DeadLetter, SymbolAlias

MAX_TASKS_COUNTED = 1000
"""Dead letters and symbols are counted up to this."""
MAX_AGENTS_SHOWN = 50
REFRESH_INTERVAL_S = 5.0
SERVERS_TIMEOUT_S = 0.3
"""How long a page waits for checks and streams, of which it can show what was known before."""
AGENTS_TIMEOUT_S = 1.0
AGENTS_STALE_S = 60.0
"""How long a page waits for the agents, and how old what it shows of them may be."""
STREAMS_STALE_S = 30.0
"""How old that may be: a page that was not open for long waits for new figures."""
NEW_FOR = timedelta(hours=2)
"""How long after the hour of the first signal the page still shows how to use the other transports."""
MIN_LAG_SHOWN = timedelta(seconds=2)
"""Rollups are usually less than a second behind the ledger."""

LIVENESS_LABELS = {
    Liveness.LIVE: ("success", "sensors"),
    Liveness.LATE: ("warning", "hourglass_top"),
    Liveness.SILENT: ("danger", "sensors_off"),
    Liveness.CLOSED: ("info", "bedtime"),
    Liveness.NEVER: ("default", "pending"),
}
"""A label's colour and icon: colour is never the only sign."""

STATUS_LABELS = {
    Status.OK: ("success", "check_circle"),
    Status.DEGRADED: ("warning", "warning"),
    Status.FAILED: ("danger", "error"),
}

CHART_OPTIONS = json.dumps(
    {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "plugins": {"legend": {"display": False}},
        "scales": {
            "x": {
                "stacked": True,
                "grid": {"display": False},
                "ticks": {"maxTicksLimit": 6, "maxRotation": 0},
            },
            "y": {"stacked": True, "beginAtZero": True, "ticks": {"precision": 0, "maxTicksLimit": 4}},
        },
    }
)

rollup_cache = queries.RollupCache()


@cache
def background_agents() -> BackgroundValue[liveness.KnownAgents | None]:
    """Return how the agents fare, as this process knows it: of a million it takes seconds to read."""
    return BackgroundValue(
        lambda: liveness.read_agents(detailed=MAX_AGENTS_SHOWN),
        fresh_s=0.0,
        stale_s=AGENTS_STALE_S,
        timeout_s=AGENTS_TIMEOUT_S,
    )


@cache
def background_streams() -> BackgroundValue[list[stream_state.StreamState]]:
    """Return this process's latest states of the streams."""
    return BackgroundValue(
        lambda: stream_state.stream_states(settings.ENVIRONMENT),
        fresh_s=REFRESH_INTERVAL_S,
        stale_s=STREAMS_STALE_S,
        timeout_s=SERVERS_TIMEOUT_S,
    )


@dataclass
class Card:
    """An ecosystem as the page shows it."""

    liveness: liveness.EcosystemLiveness
    variant: str
    icon: str
    p50: float | None
    p95: float | None
    compared: str
    """The rate of the last hour, compared with the typical one."""
    chart: str
    chart_in_words: str


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the index page's context with all that `live` renders again every few seconds.

    Staff that may not see signals get the page without it.
    """
    shown = _live(request) if _may_view(request) else {}
    return context | {"title": "Dashboard", "every_ms": int(REFRESH_INTERVAL_S * 1000)} | shown


def live(request: HttpRequest) -> HttpResponse:
    """Return the part of the index page that changes. Raises PermissionDenied."""
    if not _may_view(request):
        raise PermissionDenied
    return render(request, "admin/hub/live.html", _live(request))


def _may_view(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("aggregator.view_tradingsignal"))


def _live(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    hub = liveness.current_liveness(now, rollup_cache, lambda _: background_agents().latest())
    agents = hub.agents.urgent if hub.agents else []
    agent_count = sum(each.total for each in hub.agents.counts.values()) if hub.agents else 0
    results = [_as_of_now(each, hub) for each in check_runner().latest_results(SERVERS_TIMEOUT_S) or []]
    checks = {result.name: result for result in results}
    shown = {
        "now": now,
        "chart_options": CHART_OPTIONS,
        "cards": [_card(each, now) for each in hub.ecosystems],
        "transports": [
            _transport(each, name, checks) for each in hub.ecosystems for name in liveness.TRANSPORTS
        ],
        "agents": [_agent(agent) for agent in agents],
        "knows_agents": hub.agents is not None,
        "more_agents": max(0, agent_count - len(agents)),
        "streams": background_streams().latest() or [],
        "checks": [(result, *_check_label(result)) for result in results],
        "problems": _problems(results),
        "lag": _lag(),
        "letters": _counted(DeadLetter.objects.filter(resolved_at=None)),
        "unmapped": _counted(SymbolAlias.objects.filter(instrument="")),
    }
    came = {name for each in hub.ecosystems for name, part in each.transports.items() if part.last_at}
    if len(came) < len(liveness.TRANSPORTS) and _is_new(hub, now):
        shown |= {"came": came, "first_use": transport_guides.all_guides(request)}
    return shown


def _is_new(hub: liveness.HubLiveness, now: datetime) -> bool:
    """Return whether the hub got its first signal lately or not yet: other transports may still be tried."""
    firsts = [each.total.first_at for each in hub.ecosystems if each.total.first_at]
    return all(at > now - NEW_FOR for at in [*firsts, *_last_seen(hub)])


def _last_seen(hub: liveness.HubLiveness) -> list[datetime]:
    counts = hub.agents.counts.values() if hub.agents else ()
    return [each.last_seen for each in counts if each.last_seen]


def _as_of_now(result: CheckResult, hub: liveness.HubLiveness) -> CheckResult:
    """Return a check result, that of an ecosystem's freshness as the page's own figures have it.

    The check ran some seconds ago: a card would be live above one that calls its ecosystem silent.
    """
    for each in hub.ecosystems:
        check = FreshnessCheck(each.ecosystem)
        if result.name == check.name and each.agents is not None:
            return check.result_of(each.agents)
    return result


def _card(each: liveness.EcosystemLiveness, now: datetime) -> Card:
    total = each.total
    return Card(
        each,
        *LIVENESS_LABELS[each.state],
        queries.percentile(total.lags, 0.5),
        queries.percentile(total.lags, 0.95),
        _compared(total.hour, each.typical_hour),
        _chart(each, now),
        ", ".join(f"{figures.day:,} by {name}" for name, figures in each.transports.items()),
    )


def _compared(hour: int, usual: float | None) -> str:
    if not usual:
        return ""
    change = hour / usual - 1
    return "typical" if abs(change) < 0.05 else f"{change:+,.0%}"


def _chart(each: liveness.EcosystemLiveness, now: datetime) -> str:
    """Return Chart.js data: the last 24 hours, stacked by transport."""
    first = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)
    slots = [first + timedelta(hours=number) for number in range(24)]
    return json.dumps(
        {
            "labels": [slot.strftime("%H:%M") for slot in slots],
            "datasets": [
                {
                    "label": name,
                    "data": [figures.by_hour.get(slot, 0) for slot in slots],
                    "backgroundColor": f"var(--hub-{name})",
                    "stack": "all",
                }
                for name, figures in each.transports.items()
            ],
        }
    )


def _check_label(result: CheckResult, unset: str = NOT_CONFIGURED) -> tuple[str, str, str]:
    """Return a check's word, colour and icon; `unset` is the word for what is not configured."""
    if result.summary == NOT_CONFIGURED:
        return unset, "default", "remove"
    return result.status, *STATUS_LABELS[result.status]


def _transport(each: liveness.EcosystemLiveness, name: str, checks: dict[str, CheckResult]) -> dict[str, Any]:
    """Return a row of the table of transports; `check` is that of the server it goes over."""
    own = f"database:{each.ecosystem}"
    database = own if own in checks else "database"
    result = checks.get({"database": database, "redis": "redis", "webhook": "endpoint"}[name])
    return {
        "ecosystem": each.ecosystem,
        "name": name,
        "figures": each.transports[name],
        "check": result,
        "label": _check_label(result, "not checked" if name == "webhook" else NOT_CONFIGURED)
        if result
        else None,
    }


def _agent(agent: liveness.AgentLiveness) -> dict[str, Any]:
    silence = agent.silence
    variant, icon = LIVENESS_LABELS[silence.state]
    query = urlencode({"ecosystem": silence.ecosystem, "agent": silence.agent_source or "-"})
    return {"silence": silence, "day": agent.day, "variant": variant, "icon": icon, "query": query}


def _problems(results: list[CheckResult]) -> dict[str, Any]:
    """Return the checks that are not ok, failed ones first, and their counts in words."""
    found = [each for status in (Status.FAILED, Status.DEGRADED) for each in results if each.status is status]
    counts = Counter(each.status for each in found)
    return {"results": found, "words": ", ".join(f"{count} {status}" for status, count in counts.items())}


def _lag() -> timedelta | None:
    """Return how far the figures are behind the ledger, None where that is not noticeable."""
    lag = followers.lags(["rollups"]).get("rollups", timedelta())
    return lag if lag >= MIN_LAG_SHOWN else None


def _counted(rows: QuerySet[Any]) -> str:
    """Return how many rows there are, counted up to MAX_TASKS_COUNTED; "" for none."""
    count = rows[: MAX_TASKS_COUNTED + 1].count()
    return f"{MAX_TASKS_COUNTED:,}+" if count > MAX_TASKS_COUNTED else f"{count:,}" if count else ""
