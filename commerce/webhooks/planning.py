"""From the ledger to messages: each endpoint is a follower, and its messages are the follower's effect.

An endpoint is planned when it is free and has nothing due, so that what it has not been sent yet stays in the
ledger, where a pause or a smaller plan still holds it back, and uses nothing of the customer's day.
"""

import logging
import time
from collections.abc import Collection, Iterable
from itertools import groupby, islice

from django.db.models import Exists, OuterRef, Q, Subquery
from django.db.models.functions import Now

from aggregator import followers
from aggregator.ledger.errors import Outage, classified
from aggregator.models import OutcomeEvent, TradingSignal
from commerce import feed, ledger_window, usage
from commerce.entitlements import Entitlement, live_entitlements
from commerce.feed import outcome_pages
from commerce.models import Endpoint, Message
from commerce.webhooks.message_bodies import message_id

logger = logging.getLogger("signal_hub.webhooks")

MAX_PLANNED = 50
"""Signals planned at a time."""
MAX_WAITING = 200
"""Messages of an endpoint that may wait at once, for retries; the rest waits in the ledger."""
MAX_LISTED = 100
PLANNING_TIMEOUT_S = 0.25
"""After so long messages are sent again before more are planned."""
DELAYED_INTERVAL_S = 1.0
"""How often an endpoint is looked at of which signals become visible, or messages finish, with time."""
HELD_INTERVAL_S = 60.0
"""How often one is looked at without a live subscription, or with the day used up."""


def entitlements_of(endpoints: Collection[Endpoint]) -> dict[int, Entitlement]:
    """Return what each endpoint may be sent now, asked anew each time.

    An endpoint is missing where no subscription is live, or where it has room for older endpoints only.
    """
    entitled = live_entitlements({endpoint.customer_id for endpoint in endpoints})
    rows = Endpoint.objects.filter(customer_id__in=entitled).order_by("customer_id", "pk")
    allowed = {
        pk
        for customer, owned in groupby(rows.values_list("customer_id", "pk"), key=lambda row: row[0])
        for _, pk in islice(owned, entitled[customer].webhooks)
    }
    return {
        endpoint.pk: entitled[endpoint.customer_id].within(endpoint.ecosystems)
        for endpoint in endpoints
        if endpoint.pk in allowed
    }


class Planner:
    """Creates messages for the endpoints that lag behind the ledger. For one thread."""

    def __init__(self) -> None:
        self._not_before: dict[int, float] = {}
        """By endpoint, when to look at it again, by the monotonic clock."""

    def run(self) -> int:
        """Plan for about PLANNING_TIMEOUT_S and return how many endpoints made progress."""
        now = time.monotonic()
        self._not_before = {pk: until for pk, until in self._not_before.items() if until > now}
        endpoints = self._lagging()
        entitlements = entitlements_of(endpoints)
        progress = 0
        for number, endpoint in enumerate(endpoints):
            # At least one: on a busy database, listing them may take as long.
            if number and time.monotonic() - now > PLANNING_TIMEOUT_S:
                break
            try:
                with classified():
                    progress += self._plan(endpoint, entitlements.get(endpoint.pk))
            except Outage:
                raise
            except Exception:
                # A bug that one endpoint brings out must not stop the others.
                logger.exception("planning crashed endpoint=%s", endpoint.public_id)
                self._look_again(endpoint, HELD_INTERVAL_S)
        return progress

    def _lagging(self) -> list[Endpoint]:
        """Return endpoints to plan, first those that advanced longest ago."""
        recorded = TradingSignal.objects.filter(position__isnull=False).order_by("-position")
        decided = OutcomeEvent.objects.order_by("-id")
        behind = Q(cursor__position__lt=Subquery(recorded.values("position")[:1]))
        behind |= Q(outcomes=True, outcomes_to__lt=Subquery(decided.values("pk")[:1]))
        rows = Endpoint.objects.free().filter(behind)
        rows = rows.exclude(Exists(Message.objects.due().filter(endpoint=OuterRef("pk"))))
        return list(rows.exclude(pk__in=list(self._not_before)).order_by("cursor__advanced_at")[:MAX_LISTED])

    def _plan(self, endpoint: Endpoint, rights: Entitlement | None) -> bool:
        """Create messages of an endpoint's next signals; return whether that made progress.

        The cursor advances in the transaction that creates them: none is skipped and none created twice.
        """
        if rights is None:
            return self._look_again(endpoint, HELD_INTERVAL_S)
        with followers.locked(endpoint.cursor_id) as cursor:
            if cursor is None:
                return False  # another worker is planning it
            waiting = endpoint.messages.filter(state=Message.State.WAITING).count()
            if waiting >= MAX_WAITING:
                return self._look_again(endpoint, DELAYED_INTERVAL_S)
            limit = min(MAX_PLANNED, MAX_WAITING - waiting)
            page = feed.read(rights.scope, feed.NO_FILTERS, cursor.position, limit)
            granted = usage.count_signals(rights.customer_id, len(page.signals), rights.signals_per_day)
            if page.signals and not granted:
                return self._look_again(endpoint, HELD_INTERVAL_S)
            page = page.cut(granted)
            _create_messages(
                _message(endpoint, f"{signal.ecosystem}\0{signal.signal_id}", signal)
                for signal in page.signals
            )
            cursor.position = page.position
            if page.has_more:
                return True
            if rights.scope.delay:
                self._look_again(endpoint, DELAYED_INTERVAL_S)
            # A call before its outcome.
            decided = self._plan_outcomes(endpoint, rights, page.position, limit - len(page.signals))
            return decided or bool(page.signals)

    def _plan_outcomes(self, endpoint: Endpoint, rights: Entitlement, position: int, limit: int) -> bool:
        """Create messages of what was decided since of calls up to a position; return whether any was.

        In the transaction that holds the endpoint's cursor.
        """
        if not endpoint.outcomes or limit <= 0:
            return False
        after = Endpoint.objects.values_list("outcomes_to", flat=True).get(pk=endpoint.pk)
        delay = rights.scope.delay
        frontier = ledger_window.frontiers([delay])[delay]._replace(position=position)
        found, passed = outcome_pages.decisions(rights.scope, Q(), after, frontier, limit)
        granted = usage.count_signals(rights.customer_id, len(found), rights.signals_per_day)
        if found and not granted:
            return self._look_again(endpoint, HELD_INTERVAL_S)
        if granted < len(found):
            found = found[:granted]
            passed = found[-1][0].pk
        _create_messages(_message(endpoint, f"outcome\0{event.pk}", call, event) for event, call in found)
        Endpoint.objects.filter(pk=endpoint.pk).update(outcomes_to=passed)
        return passed > after

    def _look_again(self, endpoint: Endpoint, after_s: float) -> bool:
        self._not_before[endpoint.pk] = time.monotonic() + after_s
        return False


def _message(
    endpoint: Endpoint, subject: str, signal: TradingSignal, event: OutcomeEvent | None = None
) -> Message:
    return Message(
        endpoint=endpoint,
        message_id=message_id(endpoint, subject),
        signal=signal,
        position=signal.position,
        outcome_event=event,
        due_at=Now(),
    )


def _create_messages(messages: Iterable[Message]) -> None:
    """Insert messages; those that a replay finds again start anew under their old message ids."""
    Message.objects.bulk_create(
        messages,
        update_conflicts=True,
        unique_fields=["endpoint", "message_id"],
        update_fields=["state", "attempt_count", "due_at", "finished_at"],
    )
