"""Outcomes of the calls that a reader may see, in the ledger's order, a page at a time.

What was decided is shown with the plan's delay, as the calls themselves are.
"""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from aggregator.models import Outcome, OutcomeEvent, TradingSignal
from commerce import entitlements
from commerce.entitlements import Scope
from commerce.feed.outcome_serializer import PublicOutcome, serialize_outcome


@dataclass(frozen=True)
class OutcomeFilters:
    """A reader's filters; None means all."""

    ecosystem: str | None = None
    agent: str | None = None
    instrument: str | None = None
    state: str | None = None

    def condition(self) -> Q:
        """Return the condition for rows of outcomes."""
        wanted = {
            "ecosystem": self.ecosystem,
            "agent_source": self.agent,
            "instrument": self.instrument,
            "state": self.state,
        }
        return Q(**{name: value for name, value in wanted.items() if value is not None})


@dataclass(frozen=True)
class VisibleOutcomes:
    """Outcomes in the order of their calls; `position` is where the next page goes on."""

    outcomes: list[PublicOutcome]
    position: int
    has_more: bool

    def cut(self, count: int) -> "VisibleOutcomes":
        """Return the page with its first `count` outcomes only."""
        if count >= len(self.outcomes):
            return self
        return VisibleOutcomes(self.outcomes[:count], self.outcomes[count - 1].position, has_more=True)


def visible_outcomes(scope: Scope) -> QuerySet[Outcome]:
    """Return the outcomes of the calls that `scope` may see now."""
    window = scope.window()
    signals = entitlements.visible(scope, window).filter(position=OuterRef("position"))
    rows = Outcome.objects.filter(
        entitlements.scope_condition(scope), position__gt=window.floor, position__lte=window.frontier
    )
    return rows.filter(Exists(signals.values("pk")))


def read_outcomes(scope: Scope, filters: OutcomeFilters, after: int, limit: int) -> VisibleOutcomes:
    """Return the next page behind position `after` (0: the start), of at most `limit` outcomes."""
    rows = visible_outcomes(scope).filter(filters.condition(), position__gt=after)
    found = list(rows.order_by("position")[: limit + 1])
    page = serialize_outcomes(found[:limit], scope.delay)
    has_more = len(found) > limit
    position = page[-1].position if page else after
    if not has_more:
        position = max(position, min(scope.window().frontier, _head(position)))
    return VisibleOutcomes(page, position, has_more)


DECIDED = ("closed", "unfilled", "missed", "cancelled", "unpriced")
MAX_EVENTS_PASSED = 500


def decided_events(scope: Scope, after: int, limit: int) -> tuple[list[OutcomeEvent], int]:
    """Return the next events behind `after` that a reader may see, up to `limit`, and up to which was looked.

    Ids of events grow in commit order, so that nothing appears behind the second later.
    """
    rows = OutcomeEvent.objects.filter(id__gt=after).order_by("id")
    if scope.delay:
        rows = rows.filter(decided_at__lte=timezone.now() - scope.delay)
    passed = list(rows[:MAX_EVENTS_PASSED])
    if not passed:
        return [], after
    window = scope.window()
    positions = [event.position for event in passed if event.state in DECIDED]
    signals = entitlements.visible(scope, window).filter(position__in=positions)
    seen = set(signals.values_list("position", flat=True))
    found = [event for event in passed if event.state in DECIDED and event.position in seen]
    if len(found) > limit:
        return found[:limit], found[limit - 1].pk
    return found, passed[-1].pk


def serialize_event(event: OutcomeEvent, call: TradingSignal) -> PublicOutcome:
    """Return what a reader gets of an event of a call."""
    return serialize_outcome(call, Outcome.objects.get(position=event.position), event)


def serialize_outcomes(outcomes: list[Outcome], delay: timedelta) -> list[PublicOutcome]:
    """Return outcomes as a reader with this delay gets them now."""
    positions = [outcome.position for outcome in outcomes]
    calls = {
        call.position: call
        for call in TradingSignal.objects.filter(position__in=positions).defer("raw_payload")
    }
    if not delay:
        return [serialize_outcome(calls[each.position], each, each) for each in outcomes]
    events = OutcomeEvent.objects.filter(position__in=positions, decided_at__lte=timezone.now() - delay)
    latest = {event.position: event for event in events.order_by("id")}
    return [
        serialize_outcome(
            calls[each.position],
            each,
            latest.get(each.position)
            or Outcome(state="waiting", ambiguous=False, rule_version=each.rule_version),
        )
        for each in outcomes
    ]


def _head(position: int) -> int:
    """Return the greatest position up to which outcomes exist,
    so that none is skipped that is still to come."""
    newest = Outcome.objects.order_by("-position").values_list("position", flat=True).first()
    return max(position, newest or 0)
