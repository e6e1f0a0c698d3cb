"""What the admin's index page shows, from rollups alone: its cost does not grow with the ledger."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode

from aggregator.admin import transport_guides
from aggregator.answers import Background
from aggregator.arrivals import liveness, queries
from aggregator.arrivals.liveness import Liveness
from aggregator.health.checks import CheckResult
from aggregator.health.checks import Status as Health
from aggregator.health.runner import check_runner
from aggregator.health.stream_checks import NOT_CONFIGURED
from aggregator.ingest import stream_state
from aggregator.models import DeadLetter, SymbolAlias

COUNTED = 1000
"""Up to how many dead letters are counted."""
SHOWN_AGENTS = 50
ASK_EVERY_S = 5.0
ASKED_WITHIN_S = 30.0
"""How old an answer of the probes may be: a page that nobody has looked at for long begins anew."""
NEW_FOR = timedelta(hours=2)
"""How long after the hour of the first signal the page still tells how to send over the other transports."""

LOOKS = {
    Liveness.LIVE: ("success", "sensors"),
    Liveness.LATE: ("warning", "hourglass_top"),
    Liveness.SILENT: ("danger", "sensors_off"),
    Liveness.CLOSED: ("info", "bedtime"),
    Liveness.NEVER: ("default", "pending"),
}
"""A label's colour and its sign: the colour is never the only one."""

HEALTH = {
    Health.OK: ("success", "check_circle"),
    Health.DEGRADED: ("warning", "warning"),
    Health.FAILED: ("danger", "error"),
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

_outcomes: Background[list[CheckResult]] = Background(
    lambda: check_runner().outcomes(), ASK_EVERY_S, ASKED_WITHIN_S
)
_streams: Background[list[stream_state.StreamState]] = Background(
    lambda: stream_state.stream_states(settings.ENVIRONMENT), ASK_EVERY_S, ASKED_WITHIN_S
)
_memory = queries.RollupCache()


@dataclass
class Card:
    """An ecosystem, ready to be shown."""

    liveness: liveness.EcosystemLiveness
    variant: str
    icon: str
    p50: float | None
    p95: float | None
    against_usual: str
    chart: str
    chart_in_words: str


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the index page's context what `live` renders anew every few seconds."""
    return context | {"title": "Dashboard", "every_ms": 5000} | _live(request)


def live(request: HttpRequest) -> HttpResponse:
    """Render the part of the index page that changes."""
    response = render(request, "admin/hub/live.html", _live(request))
    response["Cache-Control"] = "no-store"
    return response


def _live(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    taken = liveness.current_liveness(now, _memory, detailed=SHOWN_AGENTS)
    agents = taken.agents or []
    outcomes = _outcomes.latest()
    checks = {outcome.name: outcome for outcome in outcomes or []}
    shown = {
        "now": now,
        "chart_options": CHART_OPTIONS,
        "cards": [_card(each, now) for each in taken.ecosystems],
        "transports": [
            _transport(each, name, checks) for each in taken.ecosystems for name in liveness.TRANSPORTS
        ],
        "agents": [_agent(agent) for agent in agents[:SHOWN_AGENTS]],
        "knows_agents": taken.agents is not None,
        "more_agents": max(0, len(agents) - SHOWN_AGENTS),
        "streams": _streams.latest() or [],
        "checks": [(outcome, *_look(outcome)) for outcome in outcomes or []],
        "troubles": _troubles(outcomes or []),
        "letters": _unresolved(),
        "unmapped": SymbolAlias.objects.filter(instrument="")[:COUNTED].count(),
    }
    came = {name for each in taken.ecosystems for name, part in each.transports.items() if part.last_at}
    if len(came) < len(liveness.TRANSPORTS) and _is_new(taken, now):
        shown |= {"came": came, "first_use": transport_guides.all_guides(request, came)}
    return shown


def _is_new(taken: liveness.HubLiveness, now: datetime) -> bool:
    """Tell whether nothing came yet, or so lately that the other transports may still be to be tried."""
    firsts = [each.total.first_at for each in taken.ecosystems if each.total.first_at]
    return all(at > now - NEW_FOR for at in [*firsts, *(agent.last_seen for agent in taken.agents or [])])


def _card(each: liveness.EcosystemLiveness, now: datetime) -> Card:
    total = each.total
    return Card(
        each,
        *LOOKS[each.state],
        queries.percentile(total.lags, 0.5),
        queries.percentile(total.lags, 0.95),
        _against_usual(total.hour, each.typical_hour),
        _chart(each, now),
        ", ".join(f"{figures.day:,} by {name}" for name, figures in each.transports.items()),
    )


def _against_usual(hour: int, usual: float | None) -> str:
    if not usual:
        return ""
    change = hour / usual - 1
    return "as usual" if abs(change) < 0.05 else f"{change:+,.0%}"


def _chart(each: liveness.EcosystemLiveness, now: datetime) -> str:
    """Return Chart.js data: a day by the hour, stacked by transport."""
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


def _look(outcome: CheckResult, unset: str = NOT_CONFIGURED) -> tuple[str, str, str]:
    """Return a probe's word, colour and sign; `unset` is the word for one of something not configured."""
    if outcome.text == NOT_CONFIGURED:
        return unset, "default", "remove"
    return outcome.state, *HEALTH[outcome.state]


def _transport(each: liveness.EcosystemLiveness, name: str, checks: dict[str, CheckResult]) -> dict[str, Any]:
    """Return a row of the table of transports; `check` is the probe of the server it goes over."""
    own = f"database:{each.ecosystem}"
    probe = {"database": own if own in checks else "database", "redis": "redis", "webhook": "endpoint"}[name]
    outcome = checks.get(probe)
    return {
        "ecosystem": each.ecosystem,
        "name": name,
        "figures": each.transports[name],
        "check": outcome,
        "look": _look(outcome, "not probed" if name == "webhook" else NOT_CONFIGURED) if outcome else None,
    }


def _agent(agent: liveness.AgentLiveness) -> dict[str, Any]:
    variant, icon = LOOKS[agent.state]
    query = urlencode({"ecosystem": agent.ecosystem, "agent": agent.name or "-"})
    return {"agent": agent, "variant": variant, "icon": icon, "query": query}


def _troubles(outcomes: list[CheckResult]) -> dict[str, Any]:
    """Return the probes that are not well, the worst first, and how many they are in words."""
    found = [each for state in (Health.FAILED, Health.DEGRADED) for each in outcomes if each.state is state]
    counts = Counter(each.state for each in found)
    return {"found": found, "words": ", ".join(f"{count} {state}" for state, count in counts.items())}


def _unresolved() -> str:
    """Return how many dead letters wait for somebody, counting no further than COUNTED."""
    count = DeadLetter.objects.filter(resolved_at=None)[: COUNTED + 1].count()
    return f"{COUNTED:,} and more" if count > COUNTED else f"{count:,}" if count else ""
