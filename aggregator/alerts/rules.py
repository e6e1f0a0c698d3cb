"""The conditions that the alert rules find just now; `aggregator.alerts.transitions` records them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Sum
from django.db.models.functions import Now

from aggregator.arrivals.silence import MAX_SILENT, Judge
from aggregator.health.checks import CheckResult, Status
from aggregator.ingest import stream_state
from aggregator.ledger.rollup_writer import OTHER
from aggregator.models import AlertPolicy, SenderMinute

REFUSAL_WINDOW = timedelta(minutes=10)
MAX_REFUSED_SENDERS = 100
PAUSED_NOTE = "; paused while its market is closed or has just opened"


@dataclass(frozen=True)
class AlertChange:
    kind: str
    """fired, repeated or resolved; open for one that has not changed."""
    rule: str
    subject: str
    text: str
    duration: timedelta
    """For how long its condition has been there."""


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
    judge = Judge(now)
    streams = stream_state.stream_states(settings.ENVIRONMENT)
    found = [
        *_failed_checks(results),
        *_lagging_streams(streams, policy.stream_lag),
        *_silences(judge),
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


def _silences(judge: Judge) -> Iterator[Condition]:
    """Yield a condition for each silent agent, up to MAX_SILENT of them, and for each silent ecosystem.

    One agent that is silent makes one alert, also where it is the only one of its ecosystem.
    """
    for each in judge.too_long():
        text = (
            f"No signal for {format_duration(each.silent_for)} (expected every "
            f"{format_duration(each.allowed)}), last seen {_minute(each.last_seen)}"
            f"{PAUSED_NOTE if each.excused else ''}"
        )
        yield Condition("agent_silent", agent_subject(each.ecosystem, each.agent_source), text, each.excused)
    for ecosystem, agents in judge.counts().items():
        if agents.too_long > MAX_SILENT:
            text = f"{agents.too_long - MAX_SILENT:,} more agents are silent; see the admin"
            yield Condition("agent_silent", agent_subject(ecosystem, OTHER), text, agents.excused)
        if agents.all_silent and agents.total > 1 and agents.last_seen:
            note = PAUSED_NOTE if agents.excused else ""
            text = f"No signal from any of its {agents.total} agents since {_minute(agents.last_seen)}{note}"
            yield Condition("ecosystem_silent", ecosystem, text, agents.excused)


def _refusals(policy: AlertPolicy) -> Iterator[Condition]:
    """Yield a condition for each sender of whose entries too many are refused, up to MAX_REFUSED_SENDERS."""
    bad = Sum(F("refused") + F("conflicts"))
    every = bad + Sum(F("accepted") + F("duplicates"))
    refused = (
        SenderMinute.objects.filter(minute__gt=Now() - REFUSAL_WINDOW)
        .values_list("sender")
        .annotate(bad=bad, every=every)
        .alias(excess=100 * bad - policy.refusal_percent * every)
        .filter(bad__gte=policy.refusal_count, excess__gte=0)
        .order_by("-bad", "sender")
    )
    for sender, bad_count, count in refused[:MAX_REFUSED_SENDERS]:
        window = format_duration(REFUSAL_WINDOW)
        text = f"{bad_count:,} of {count:,} signals refused within {window}; see the dead letters"
        yield Condition("refusals", sender or "unknown", text)


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
