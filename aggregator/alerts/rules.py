"""What is wrong just now. Rules only look; `aggregator.alerts.transitions` keeps the book."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from django.conf import settings
from django.db.models import F, Sum
from django.db.models.functions import Now

from aggregator.arrivals import cadence
from aggregator.health.checks import CheckResult, Status
from aggregator.health.freshness_check import silent
from aggregator.ingest import stream_state
from aggregator.models import AlertPolicy, ArrivalMinute

REFUSALS_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True)
class Condition:
    rule: str
    subject: str
    text: str
    rests: bool = False
    """Whether it goes on without a word: it neither fires, nor is repeated, nor over."""


@dataclass(frozen=True)
class Conditions:
    findings: list[Condition]
    blind: frozenset[str] = frozenset()
    """Rules that could not look: nothing is over because of their silence."""


RESTS = "; no word while its market is closed or has just opened"


def evaluate(policy: AlertPolicy, outcomes: Sequence[CheckResult], now: datetime | None = None) -> Conditions:
    """Apply every rule, at `now` or else at the database's.

    Raises database errors; whatever else is down makes a rule blind.
    """
    silences = cadence.silences(now)
    lagging, blind = _streams(policy.stream_lag)
    findings = [
        *_failed(outcomes),
        *lagging,
        *_silent_ecosystems(silences),
        *_silent_agents(silences),
        *_refusals(policy),
    ]
    return Conditions(findings, frozenset({"stream_lag"} if blind else ()))


def _failed(outcomes: Iterable[CheckResult]) -> Iterator[Condition]:
    for outcome in outcomes:
        if outcome.state is Status.FAILED:
            text = "; ".join(filter(None, (outcome.text, outcome.detail)))
            yield Condition("check_failed", outcome.name, text)


def _streams(most: int) -> tuple[list[Condition], bool]:
    states = stream_state.stream_states(settings.ENVIRONMENT)
    findings = [
        Condition("stream_lag", state.stream, f"{state.lag} unread entries, {state.consumers} consumers")
        for state in states
        if state.lag > most
    ]
    return findings, any(state.error for state in states)


def _silent_ecosystems(silences: Sequence[cadence.Silence]) -> Iterator[Condition]:
    for ecosystem, agents_ in groupby(silences, key=attrgetter("ecosystem")):
        agents = list(agents_)
        if silent(agents):
            last = max(agent.last_seen for agent in agents)
            rests = any(agent.excused for agent in agents)
            none = f"none of its {len(agents)} agents" if len(agents) > 1 else "nothing from its only agent"
            text = f"{none} since {_moment(last)}{RESTS if rests else ''}"
            yield Condition("ecosystem_silent", ecosystem, text, rests)


def _silent_agents(silences: Iterable[cadence.Silence]) -> Iterator[Condition]:
    for each in silences:
        if each.too_long and each.allowed is not None:
            text = (
                f"silent for {spoken(each.silent_for)} of open market, "
                f"at most {spoken(each.allowed)} is expected; last seen {_moment(each.last_seen)}"
                f"{RESTS if each.excused else ''}"
            )
            yield Condition("agent_silent", name(each.ecosystem, each.agent_source), text, each.excused)


def _refusals(policy: AlertPolicy) -> Iterator[Condition]:
    rows = (
        ArrivalMinute.objects.filter(minute__gt=Now() - REFUSALS_WITHIN)
        .order_by("ecosystem", "agent_source")
        .values_list("ecosystem", "agent_source")
        .annotate(
            bad=Sum(F("refused") + F("conflicts")),
            every=Sum(F("accepted") + F("duplicates") + F("refused") + F("conflicts")),
        )
    )
    for ecosystem, agent, bad, every in rows:
        if bad >= policy.refusal_count and bad * 100 >= policy.refusal_percent * every:
            text = f"{bad} of {every} refused within {spoken(REFUSALS_WITHIN)}; see the dead letters"
            yield Condition("refusals", name(ecosystem, agent), text)


def name(ecosystem: str, agent: str) -> str:
    return f"{ecosystem or 'unknown'}/{agent or '(unnamed)'}"


def spoken(duration: timedelta) -> str:
    """Return a duration as one says it: `40 s`, `12 min`, `3.5 h`, `2.1 d`."""
    seconds = duration.total_seconds()
    for most, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
