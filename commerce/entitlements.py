"""The one answer to what a subscription may see: REST, streams and deliveries all ask here."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from aggregator.models import TradingSignal
from commerce import checkpoints
from commerce.checkpoints import Window
from commerce.models import Plan, Subscription
from ecosystems import heartbeat

SIGN_OF_LIFE = Q(signal_type="ANALYTICS", tags__contains=[heartbeat.TAG])
"""What agents send to be heard from is for the operator: no customer pays a day's allowance for it."""
SIGN_OF_LIFE_SQL = f"""(signal_type = 'ANALYTICS' AND tags @> '["{heartbeat.TAG}"]')"""


@dataclass(frozen=True)
class Scope:
    """Which signals may be seen. Equal scopes see the same."""

    ecosystems: frozenset[str] | None = None
    """None means all."""
    instruments: tuple[str, ...] = ()
    """Patterns with `*` and `?`; none means all."""
    delay: timedelta = timedelta(0)
    history: timedelta | None = None
    payload: bool = False
    """Whether `raw_payload` is shown."""

    def window(self, since: datetime | None = None) -> Window:
        """Return the part of the ledger that may be seen now."""
        return checkpoints.window(self.delay, self.history, since)

    def within(self, ecosystems: Iterable[str]) -> "Scope":
        """Return the part of this scope in `ecosystems`."""
        wanted = frozenset(ecosystems)
        return replace(self, ecosystems=wanted if self.ecosystems is None else wanted & self.ecosystems)


@dataclass(frozen=True)
class Entitlement:
    """What a subscription gives right to."""

    customer_id: int
    subscription_id: int
    plan: str
    scope: Scope
    requests_per_day: int | None
    """None means unlimited."""
    signals_per_day: int | None
    streams: int
    webhooks: int

    def within(self, ecosystems: Iterable[str]) -> "Entitlement":
        """Return these rights for `ecosystems` only."""
        return replace(self, scope=self.scope.within(ecosystems))


def entitlement(subscription: Subscription) -> Entitlement:
    """Return what a subscription gives right to; whether it is live is `Subscription.objects.entitling`'s."""
    plan = subscription.plan
    return Entitlement(
        customer_id=subscription.customer_id,
        subscription_id=subscription.pk,
        plan=plan.slug,
        scope=scope(plan),
        requests_per_day=plan.requests_per_day,
        signals_per_day=plan.signals_per_day,
        streams=plan.streams,
        webhooks=plan.webhooks,
    )


def scope(plan: Plan) -> Scope:
    """Return which signals a plan shows."""
    return Scope(
        ecosystems=frozenset(plan.ecosystems) if plan.ecosystems else None,
        instruments=tuple(sorted(plan.instruments)),
        delay=plan.delay,
        history=None if plan.history_days is None else timedelta(days=plan.history_days),
        payload=plan.payload,
    )


def visible(scope: Scope, window: Window) -> QuerySet[TradingSignal]:
    """Return the ledger's rows that `scope` may see in `window`; ask for them `order_by("position")`."""
    rows = TradingSignal.objects.filter(position__gt=window.floor, position__lte=window.frontier)
    rows = rows.filter(covered(scope)).exclude(SIGN_OF_LIFE)
    return rows if scope.payload else rows.defer("raw_payload")


def covered(scope: Scope) -> Q:
    """Return the condition on `ecosystem` and `instrument` that `scope` sets, for any table that has both."""
    condition = Q()
    if scope.ecosystems is not None:
        condition &= Q(ecosystem__in=sorted(scope.ecosystems))
    if scope.instruments:
        condition &= matching(scope.instruments)
    return condition


def matching(patterns: Iterable[str]) -> Q:
    """Return the condition that the instrument matches one of the patterns."""
    exact, wild = [], []
    for pattern in patterns:
        if "*" in pattern or "?" in pattern:
            wild.append(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
        else:
            exact.append(pattern)
    condition = Q(instrument__in=exact)
    return condition | Q(instrument__regex=f"^(?:{'|'.join(wild)})$") if wild else condition
