"""The one answer to what a subscription may see: REST, streams and deliveries all ask here."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Func, Q, QuerySet, TextField
from django.db.models.functions import Cast

from aggregator.models import TradingSignal
from commerce import ledger_window
from commerce.ledger_window import Window
from commerce.models import Plan, Subscription
from ecosystems.agent import heartbeat

HEARTBEAT = Q(signal_type="ANALYTICS", tags__contains=[heartbeat.TAG])
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
        return ledger_window.window(self.delay, self.history, since)

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


class Unindexed(Func):
    """A text that is compared row by row: Postgres sees no column that has an index."""

    template = "(%(expressions)s || '')"
    arity = 1


def visible(scope: Scope, window: Window, *, in_order: bool = False) -> QuerySet[TradingSignal]:
    """Return the ledger's rows that `scope` may see in `window`; ask for them `order_by("position")`.

    With `in_order`, by no index but the position's. That of the instrument would be read for all of the
    ledger each time: 250,000 entries, 30 ms, for a plan of `B*` at 5,000,000 signals.
    """
    rows = TradingSignal.objects.filter(position__gt=window.floor, position__lte=window.frontier)
    if in_order:
        rows = rows.alias(passed_instrument=Unindexed("instrument"), passed_agent=Unindexed("agent_source"))
    rows = rows.filter(scope_condition(scope, "passed_instrument" if in_order else "instrument"))
    # The payload as the database writes it: read into Python, its numbers would become floats.
    written = {"written_payload": Cast("raw_payload", TextField())} if scope.payload else {}
    return rows.exclude(HEARTBEAT).defer("raw_payload").annotate(**written)


def scope_condition(scope: Scope, instrument: str = "instrument") -> Q:
    """Return the condition on `ecosystem` and `instrument` that `scope` sets, for any table that has both."""
    condition = Q()
    if scope.ecosystems is not None:
        condition &= Q(ecosystem__in=sorted(scope.ecosystems))
    if scope.instruments:
        condition &= instrument_condition(scope.instruments, instrument)
    return condition


def instrument_condition(patterns: Collection[str], instrument: str = "instrument") -> Q:
    """Return the condition that the instrument matches one of the patterns."""
    wild = [pattern for pattern in patterns if "*" in pattern or "?" in pattern]
    condition = Q(**{f"{instrument}__in": [pattern for pattern in patterns if pattern not in wild]})
    return condition | Q(**{f"{instrument}__regex": patterns_regex(wild)}) if wild else condition


def patterns_regex(patterns: Iterable[str]) -> str:
    """Return the patterns as one regular expression of Postgres'."""
    spelled = (re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns)
    return f"^(?:{'|'.join(spelled)})$"
