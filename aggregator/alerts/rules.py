"""The conditions that the alert rules find just now; `aggregator.alerts.transitions` records them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from django.conf import settings
from django.db.models import F, Sum
from django.db.models.functions import Now

from aggregator.arrivals import cadence
from aggregator.arrivals.cadence import is_silent
from aggregator.health.checks import CheckResult, Status
from aggregator.ingest import stream_state
from aggregator.models import AlertPolicy, ArrivalMinute

REFUSAL_WINDOW = timedelta(minutes=10)
PAUSED_NOTE = "; paused while its market is closed or has just opened"


@dataclass(frozen=True)
class AlertChange:
    rule: str
    subject: str
    text: str
    since: datetime


@dataclass(frozen=True)
class Transitions:
    fired: list[AlertChange]
    repeated: list[AlertChange]
    resolved: list[AlertChange]

    def __len__(self) -> int:
        return len(self.fired) + len(self.repeated) + len(self.resolved)


@dataclass(frozen=True)
class Condition:
    """What a rule found wrong with one subject."""

    rule: str
    subject: str
    text: str
    is_paused: bool = False
    """While it is paused an alert neither fires, nor repeats, nor resolves."""


@dataclass(frozen=True)
class Conditions:
    found: list[Condition]
    unknown_rules: frozenset[str] = frozenset()
    """Rules that could not be evaluated: their alerts do not resolve."""


def evaluate(policy: AlertPolicy, results: Sequence[CheckResult], now: datetime | None = None) -> Conditions:
    """Return the conditions of every rule, at `now` or else by the database's clock.

    Raises errors of the core database; another server that is down makes its rule unknown.
    """
    silences = cadence.silences(now)
    streams = stream_state.stream_states(settings.ENVIRONMENT)
    found = [
        *_failed_checks(results),
        *_lagging_streams(streams, policy.stream_lag),
        *_silent_ecosystems(silences),
        *_silent_agents(silences),
        *_refusals(policy),
    ]
    return Conditions(found, frozenset({"stream_lag"} if any(each.error for each in streams) else ()))


def _failed_checks(results: Iterable[CheckResult]) -> Iterator[Condition]:
    for result in results:
        if result.status is Status.FAILED:
            yield Condition("check_failed", result.name, result.text)


def _lagging_streams(streams: Iterable[stream_state.StreamState], max_lag: int) -> Iterator[Condition]:
    for state in streams:
        if state.lag > max_lag:
            text = f"{state.lag:,} unread entries, {state.consumers} consumers"
            yield Condition("stream_lag", state.stream, text)


def _silent_ecosystems(silences: Sequence[cadence.Silence]) -> Iterator[Condition]:
    for ecosystem, group in groupby(silences, key=attrgetter("ecosystem")):
        agents = list(group)
        if is_silent(agents):
            last = max(agent.last_seen for agent in agents)
            is_paused = any(agent.excused for agent in agents)
            source = f"any of its {len(agents)} agents" if len(agents) > 1 else "its only agent"
            text = f"No signal from {source} since {_minute(last)}{PAUSED_NOTE if is_paused else ''}"
            yield Condition("ecosystem_silent", ecosystem, text, is_paused)


def _silent_agents(silences: Iterable[cadence.Silence]) -> Iterator[Condition]:
    for each in silences:
        if each.too_long and each.allowed is not None:
            text = (
                f"No signal for {format_duration(each.silent_for)} (expected every "
                f"{format_duration(each.allowed)}), last seen {_minute(each.last_seen)}"
                f"{PAUSED_NOTE if each.excused else ''}"
            )
            yield Condition(
                "agent_silent", agent_subject(each.ecosystem, each.agent_source), text, each.excused
            )


def _refusals(policy: AlertPolicy) -> Iterator[Condition]:
    rows = (
        ArrivalMinute.objects.filter(minute__gt=Now() - REFUSAL_WINDOW)
        .order_by("ecosystem", "agent_source")
        .values_list("ecosystem", "agent_source")
        .annotate(
            bad=Sum(F("refused") + F("conflicts")),
            every=Sum(F("accepted") + F("duplicates") + F("refused") + F("conflicts")),
        )
    )
    for ecosystem, agent, bad, every in rows:
        if bad >= policy.refusal_count and bad * 100 >= policy.refusal_percent * every:
            window = format_duration(REFUSAL_WINDOW)
            text = f"{bad:,} of {every:,} signals refused within {window}; see the dead letters"
            yield Condition("refusals", agent_subject(ecosystem, agent), text)


def agent_subject(ecosystem: str, agent: str) -> str:
    return f"{ecosystem or 'unknown'}/{agent or '(unnamed)'}"


def format_duration(duration: timedelta) -> str:
    """Return a duration with three digits: `40 s`, `12 min`, `3.5 h`, `2.1 d`."""
    seconds = duration.total_seconds()
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
