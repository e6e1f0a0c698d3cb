"""What a subscription allows: REST, streams and webhooks all decide by this module."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from aggregator.models import TradingSignal
from commerce import ledger_window
from commerce.ledger_window import Window
from commerce.models import Plan, Subscription
from commerce.models.subscriptions import MAX_DAYS
from ecosystems.agent import heartbeat
from ecosystems.market.feeds import REPLAY, SYNTHETIC

HEARTBEAT = Q(signal_type="ANALYTICS", tags__contains=[heartbeat.TAG])
"""Heartbeats are for the operator: no customer spends a day's limit on them."""

SIMULATED = Q(tags__has_any_keys=[REPLAY, SYNTHETIC])
"""Signals of history, or of made-up prices: they are outside of every plan that does not include them."""


@dataclass(frozen=True)
class Scope:
    """Which signals may be read. Equal scopes read the same."""

    ecosystems: frozenset[str] | None = None
    """None means all."""
    instruments: tuple[str, ...] = ()
    """Patterns with `*` and `?`; empty means all."""
    delay: timedelta = timedelta(0)
    history: timedelta | None = None
    payload: bool = False
    """Whether `raw_payload` is shown."""
    simulated: bool = False
    """Whether signals are shown that are SIMULATED."""

    def window(self, since: datetime | None = None) -> Window:
        """Return the part of the ledger that may be seen now."""
        return ledger_window.window(self.delay, self.history, since)


@dataclass(frozen=True)
class Entitlement:
    """What a subscription allows."""

    customer_id: int
    scope: Scope
    requests_per_day: int | None
    """None means unlimited."""
    signals_per_day: int | None
    streams: int
    webhooks: int

    def within(self, ecosystems: Collection[str]) -> "Entitlement":
        """Return this entitlement for `ecosystems` only; without any, as it is."""
        if not ecosystems:
            return self
        own, wanted = self.scope.ecosystems, frozenset(ecosystems)
        return replace(self, scope=replace(self.scope, ecosystems=wanted if own is None else wanted & own))


OPERATOR = 0
"""Stands for the customer where an operator reads, who has no subscription and no limits."""

OPERATORS_ENTITLEMENT = Entitlement(OPERATOR, Scope(payload=True, simulated=True), None, None, 1, 0)
"""What an operator's key with the scope to read allows: all of the feed, and no endpoints."""


def entitlement(subscription: Subscription) -> Entitlement:
    """Return what a subscription allows; `Subscription.objects.entitling` finds those that are live."""
    plan = subscription.plan
    return Entitlement(
        customer_id=subscription.customer_id,
        scope=scope(plan),
        requests_per_day=plan.requests_per_day,
        signals_per_day=plan.signals_per_day,
        streams=plan.streams,
        webhooks=plan.webhooks,
    )


def live_entitlements(customers: Collection[int]) -> dict[int, Entitlement]:
    """Return what each of these customers is allowed now; those without a live subscription are missing."""
    live = Subscription.objects.entitling(timezone.now()).filter(customer_id__in=customers)
    return {subscription.customer_id: entitlement(subscription) for subscription in live}


def scope(plan: Plan) -> Scope:
    """Return the scope of a plan."""
    days = plan.history_days  # any number: no ledger goes back as far as MAX_DAYS
    return Scope(
        ecosystems=frozenset(plan.ecosystems) if plan.ecosystems else None,
        instruments=tuple(sorted(plan.instruments)),
        delay=plan.delay,
        history=None if days is None else timedelta(days=min(days, MAX_DAYS)),
        payload=plan.payload,
        simulated=plan.simulated,
    )


HIDDEN = ("digest", "first_received_at", "sender", "transport")
"""What no reader gets of a signal."""


def visible(scope: Scope, window: Window) -> QuerySet[TradingSignal]:
    """Return the ledger's rows that `scope` may see in `window`."""
    rows = TradingSignal.objects.filter(
        scope_condition(scope), position__gt=window.floor, position__lte=window.frontier
    )
    # The payload as the database writes it: read into Python, its numbers would become floats.
    written = {"written_payload": Cast("raw_payload", TextField())} if scope.payload else {}
    if not scope.simulated:
        rows = rows.exclude(SIMULATED)
    return rows.exclude(HEARTBEAT).defer("raw_payload", *HIDDEN).annotate(**written)


def scope_condition(scope: Scope) -> Q:
    """Return the condition on `ecosystem` and `instrument` that `scope` sets."""
    condition = Q()
    if scope.ecosystems is not None:
        condition &= Q(ecosystem__in=sorted(scope.ecosystems))
    if scope.instruments:
        wild = {pattern for pattern in scope.instruments if "*" in pattern or "?" in pattern}
        named = Q(instrument__in=[name for name in scope.instruments if name not in wild])
        condition &= named | Q(instrument__regex=patterns_regex(sorted(wild))) if wild else named
    return condition


def patterns_regex(patterns: Iterable[str]) -> str:
    """Return the patterns as one regular expression of Postgres'."""
    spelled = (re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns)
    return f"^(?:{'|'.join(spelled)})$"
