"""Outcomes of the calls that a reader may see, in the ledger's order, a page at a time.

What was decided is shown with the plan's delay, as the calls themselves are.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from aggregator.models import Outcome, OutcomeEvent, TradingSignal
from commerce import entitlements, ledger_window
from commerce.entitlements import Scope
from commerce.feed import cursors
from commerce.feed.outcome_serializer import serialize_outcome
from commerce.ledger_window import Place

DECIDED = ("closed", "unfilled", "missed", "cancelled", "unpriced")
MAX_EVENTS_PASSED = 500


@dataclass(frozen=True)
class VisibleOutcomes:
    """Outcomes in the order of their calls; `position` is where the next page goes on."""

    outcomes: list[dict[str, Any]]
    position: int
    has_more: bool

    def cut(self, count: int) -> "VisibleOutcomes":
        """Return the page with its first `count` outcomes only."""
        if count >= len(self.outcomes):
            return self
        return VisibleOutcomes(self.outcomes[:count], self.outcomes[count - 1]["position"], has_more=True)


def visible_outcomes(scope: Scope) -> QuerySet[Outcome]:
    """Return the outcomes of the calls that `scope` may see now."""
    window = scope.window()
    signals = entitlements.visible(scope, window).filter(position=OuterRef("position"))
    rows = Outcome.objects.filter(
        entitlements.scope_condition(scope), position__gt=window.floor, position__lte=window.frontier
    )
    return rows.filter(Exists(signals.values("pk")))


def counted_outcomes(scope: Scope) -> QuerySet[Outcome]:
    """Return the outcomes that figures for a reader are made of.

    With a delay, those that were decided before it: an open call is valued at present prices.
    """
    rows = visible_outcomes(scope)
    if not scope.delay:
        return rows
    young = OutcomeEvent.objects.filter(id__gt=ledger_window.frontiers([scope.delay])[scope.delay].decided)
    return rows.filter(state__in=DECIDED).exclude(position__in=young.values("position"))


def read_outcomes(scope: Scope, condition: Q, state: str | None, after: int, limit: int) -> VisibleOutcomes:
    """Return the next page behind position `after` (0: the start), of at most `limit` outcomes.

    `condition` is one of `Filters`, `state` the one that this reader sees; None means all. Up to where it may
    look is fixed first: the cursor moves there, and an outcome may begin in the meantime. Raises Problem 410.
    """
    frontier = scope.window().frontier
    cursors.require_on_record(after, frontier)
    # Up to the last outcome that has begun, so that none is skipped that is to come.
    begun = Outcome.objects.order_by("-position").values_list("position", flat=True).first() or 0
    upto = min(frontier, begun)
    rows = visible_outcomes(scope).filter(condition, position__gt=after, position__lte=upto)
    known_by = timezone.now() - scope.delay if scope.delay else None
    if state is not None:
        rows = _in_state(rows, state, known_by)
    found = list(rows.order_by("position")[: limit + 1])
    page = serialize_outcomes(found[:limit], known_by)
    if len(found) > limit:
        return VisibleOutcomes(page, page[-1]["position"], has_more=True)
    return VisibleOutcomes(page, max(after, upto), has_more=False)


def decisions(
    scope: Scope, condition: Q, after: int, frontier: Place, limit: int
) -> tuple[list[tuple[OutcomeEvent, TradingSignal]], int]:
    """Return a reader's next decisions behind `after`, each with its call, and up to which was looked.

    `frontier` is how far this reader has come in the ledger, since a call comes before its outcome, and up to
    which decision it may look. Ids grow in commit order: none below appears later.
    """
    rows = OutcomeEvent.objects.filter(id__gt=after, id__lte=frontier.decided).order_by("id")
    passed = list(takewhile(lambda event: event.position <= frontier.position, rows[:MAX_EVENTS_PASSED]))
    if not passed:
        return [], after
    decided = [event for event in passed if event.state in DECIDED]
    signals = entitlements.visible(replace(scope, payload=False), scope.window()).filter(condition)
    positions = {event.position for event in decided}
    calls = {signal.position: signal for signal in signals.filter(position__in=positions)}
    found = [(event, calls[event.position]) for event in decided if event.position in calls]
    if len(found) > limit:
        return found[:limit], found[limit - 1][0].pk
    return found, passed[-1].pk


def _in_state(rows: QuerySet[Outcome], state: str, known_by: datetime | None) -> QuerySet[Outcome]:
    """Return those that are shown in a state, which with a delay is the one that they had then."""
    if known_by is None:
        return rows.filter(state=state)
    events = OutcomeEvent.objects.filter(position=OuterRef("position"), decided_at__lte=known_by)
    last = Subquery(events.order_by("-id").values("state")[:1])
    return rows.annotate(shown_state=Coalesce(last, Value("waiting", output_field=TextField()))).filter(
        shown_state=state
    )


def serialize_outcomes(outcomes: list[Outcome], known_by: datetime | None) -> list[dict[str, Any]]:
    """Return outcomes as they are, or as they were known by a moment to a reader with a delay."""
    positions = [outcome.position for outcome in outcomes]
    calls = {
        call.position: call
        for call in TradingSignal.objects.filter(position__in=positions).defer("raw_payload")
    }
    if known_by is None:
        return [serialize_outcome(calls[each.position], each) for each in outcomes]
    events = OutcomeEvent.objects.filter(position__in=positions, decided_at__lte=known_by)
    latest = {event.position: event for event in events.order_by("id")}
    return [
        serialize_outcome(
            calls[each.position],
            latest.get(each.position)
            or Outcome(
                state="waiting",
                ambiguous=False,
                rule_version=each.rule_version,
                horizon_hours=each.horizon_hours,
            ),
        )
        for each in outcomes
    ]
