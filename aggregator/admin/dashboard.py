"""The admin's index page. It reads rollups alone, so that its cost does not grow with the ledger."""

import json
from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import permission_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from aggregator import followers
from aggregator.admin import transport_guides
from aggregator.arrivals import liveness, queries
from aggregator.background import BackgroundValue
from aggregator.health.checks import CheckResult, Status
from aggregator.health.market_checks import FreshnessCheck
from aggregator.health.runner import check_runner
from aggregator.ingest import stream_state
from aggregator.models import DeadLetter, SymbolAlias

VIEW_SIGNALS = "aggregator.view_tradingsignal"
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


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the index page's context with all that `live` renders again every few seconds.

    Staff that may not see signals get the page without it.
    """
    shown = _live(request) if request.user.has_perm(VIEW_SIGNALS) else {}
    return context | {"title": "Dashboard", "every_ms": int(REFRESH_INTERVAL_S * 1000)} | shown


@permission_required(VIEW_SIGNALS, raise_exception=True)
def live(request: HttpRequest) -> HttpResponse:
    """Return the part of the index page that changes. Raises PermissionDenied."""
    return render(request, "admin/hub/live.html", _live(request))


def _live(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    agents = background_agents().latest()
    urgent = agents.urgent if agents else []
    agent_count = sum(each.total for each in agents.counts.values()) if agents else 0
    ecosystems = liveness.current_liveness(now, rollup_cache, agents)
    checks = {result.name: result for result in check_runner().latest_results(SERVERS_TIMEOUT_S) or []}
    for each in ecosystems:
        freshness = FreshnessCheck(each.ecosystem)
        if freshness.name in checks and each.agents is not None:
            # The check ran some seconds ago: a card would be live above one that calls its ecosystem silent.
            checks[freshness.name] = freshness.result_of(each.agents)
    shown = {
        "now": now,
        "cards": [_card(each, now) for each in ecosystems],
        "transports": [_transport(each, name, checks) for each in ecosystems for name in liveness.TRANSPORTS],
        "agents": urgent,
        "knows_agents": agents is not None,
        "more_agents": max(0, agent_count - len(urgent)),
        "streams": background_streams().latest() or [],
        "checks": checks.values(),
        "problems": _problems(checks.values()),
        "lag": _lag(),
        "letters": _counted(DeadLetter.objects.filter(resolved_at=None)),
        "unmapped": _counted(SymbolAlias.objects.filter(instrument="")),
    }
    came = {name for each in ecosystems for name, part in each.transports.items() if part.last_at}
    if len(came) < len(liveness.TRANSPORTS) and _is_new(ecosystems, now):
        shown |= {"came": came, "first_use": transport_guides.all_guides(request)}
    return shown


def _is_new(ecosystems: list[liveness.EcosystemLiveness], now: datetime) -> bool:
    """Return whether the hub got its first signal lately or not yet: other transports may still be tried."""
    seen = [at for each in ecosystems for at in (each.total.first_at, each.agents and each.agents.last_seen)]
    return all(at > now - NEW_FOR for at in seen if at)


def _card(each: liveness.EcosystemLiveness, now: datetime) -> dict[str, Any]:
    """Return an ecosystem as the page shows it: `compared` is its last hour beside a typical one."""
    return {
        "liveness": each,
        "p50": queries.percentile(each.total.lags, 0.5),
        "p95": queries.percentile(each.total.lags, 0.95),
        "compared": _compared(each.total.hour, each.typical_hour),
        "chart": _chart(each, now),
    }


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


def _transport(each: liveness.EcosystemLiveness, name: str, checks: dict[str, CheckResult]) -> dict[str, Any]:
    """Return a row of the table of transports; `check` is that of the server it goes over."""
    own = f"database:{each.ecosystem}"
    database = own if own in checks else "database"
    server = {"database": database, "redis": "redis", "webhook": "endpoint"}[name]
    return {
        "ecosystem": each.ecosystem,
        "name": name,
        "figures": each.transports[name],
        "check": checks.get(server),
    }


def _problems(results: Collection[CheckResult]) -> dict[str, Any]:
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
