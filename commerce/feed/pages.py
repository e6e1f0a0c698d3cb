"""The feed: signals in the ledger's order, a page at a time, each exactly once.

A page is read behind a cursor and up to a frontier that was fixed before, so the cursor may move to the
frontier when nothing else was found: no signal can appear behind it later. A page may therefore be empty and
still have more to come: a reader goes on while `has_more`.
"""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import connection
from django.db.models import BigIntegerField, BooleanField, Func, Q, QuerySet, Value

from aggregator.ledger import pager
from aggregator.models import TradingSignal
from commerce import entitlements
from commerce.entitlements import Scope
from commerce.feed import cursors
from ecosystems.signal import EARLIEST, MAX_AHEAD

PAGE_TIMEOUT_S = 0.25
"""After how long a reader gets what was found so far."""
DENSE = pager.MAX_PASSED // 200
"""What the first step of a walk finds so often is found by further steps, whatever the ledger's size."""
MAX_RARE = 10_000
"""So many signals of instruments or of an agent are looked up one by one. At 5,000,000 signals, 500 of them
of one instrument, their page took 31 requests of PAGE_TIMEOUT_S by a walk; by their ids it takes one."""
MAX_INSTRUMENTS = 5_000
MAX_MATCHING = 200
"""How many instruments the ledger may have, and a plan's patterns may match, to be looked up by name."""

INSTRUMENTS = f"""{pager.each_value("instrument")}
    SELECT coalesce(max(step), 0), coalesce(array_agg(name) FILTER (WHERE name ~ %s), '{{}}') FROM known"""


@dataclass(frozen=True)
class Filters:
    """A reader's filters on the visible signals; None means all."""

    ecosystem: str | None = None
    instrument: str | None = None
    action: str | None = None
    refers_to: str | None = None
    agent: str | None = None
    since: datetime | None = None
    """The earliest `timestamp`, aware."""

    def condition(self) -> Q:
        """Return the condition for rows of `entitlements.visible`."""
        wanted = {
            "ecosystem": self.ecosystem,
            "instrument": self.instrument,
            "action": self.action,
            "refers_to": self.refers_to,
            "agent_source": self.agent,
            "timestamp__gte": self.since,
        }
        return Q(**{name: value for name, value in wanted.items() if value is not None})


NO_FILTERS = Filters()


@dataclass(frozen=True)
class Page:
    """Signals in the ledger's order; `position` is where the next page goes on."""

    signals: list[TradingSignal]
    position: int
    has_more: bool

    def cut(self, count: int) -> "Page":
        """Return the page with its first `count` signals only, and a position right behind them."""
        if count >= len(self.signals):
            return self
        assert count, "a page that is cut to nothing has no position of its own"
        return Page(self.signals[:count], _position(self.signals[count - 1]), has_more=True)


def read(scope: Scope, filters: Filters, after: int, limit: int) -> Page:
    """Return the next page behind position `after` (0: the start), of at most `limit` signals.

    Its cost does not depend on the ledger's size. Its position is never below `after`. Raises Problem 410.
    """
    since = max(filters.since, EARLIEST) - MAX_AHEAD if filters.since else None
    window = scope.window(since)
    cursors.require_on_record(after, window.frontier)
    walk = pager.Walk(entitlements.visible(scope, window).filter(filters.condition()), "position")
    position, wanted = max(after, window.floor), limit + 1
    found, last = walk.find(position, window.frontier, wanted, timeout_s=0)
    if last is not None and len(found) < min(wanted, DENSE):
        ids = _rare_ids(scope, filters)
        if ids is not None:
            beyond = walk.rows.filter(position__gt=last).order_by("position")
            found, last = found + _first_among(ids, beyond, wanted - len(found)), None
    if last is not None and len(found) < wanted:
        more, last = walk.find(last, window.frontier, wanted - len(found), PAGE_TIMEOUT_S)
        found += more
    if len(found) > limit:
        return Page(found[:limit], _position(found[limit - 1]), has_more=True)
    position = window.frontier if last is None else last
    return Page(found, max(position, after), has_more=position < window.frontier)


def _rare_ids(scope: Scope, filters: Filters) -> list[int] | None:
    """Return the ids of all signals of the wanted instruments, agent or reference; None for over MAX_RARE.

    One index holds the answer. Signals that are recorded later lie behind the frontier.
    """
    lookups = []
    if filters.refers_to is not None:
        lookups.append(Q(refers_to=filters.refers_to))
    if filters.instrument is not None:
        lookups.append(Q(instrument=filters.instrument))
    elif scope.instruments and (names := _instruments(scope)) is not None:
        lookups.append(Q(instrument__in=names))
    if filters.agent is not None:
        lookups.append(Q(agent_source=filters.agent))
    for condition in lookups:
        ids = list(TradingSignal.objects.filter(condition).values_list("pk", flat=True)[: MAX_RARE + 1])
        if len(ids) <= MAX_RARE:
            return ids
    return None


def _instruments(scope: Scope) -> list[str] | None:
    """Return the ledger's instruments that `scope` covers; None where there are too many of either."""
    with connection.cursor() as cursor:
        cursor.execute(INSTRUMENTS, ["", MAX_INSTRUMENTS + 1, entitlements.patterns_regex(scope.instruments)])
        steps, names = cursor.fetchone()
    return names if steps <= MAX_INSTRUMENTS and len(names) <= MAX_MATCHING else None


class _EqualsAny(Func):
    """Equality with one of an array's values: a single parameter, where `__in` makes one of each value.

    Parsing 10,000 parameters takes longer than looking the values up.
    """

    template = "(%(expressions)s))"
    arg_joiner = " = ANY ("
    output_field = BooleanField()


def _first_among(ids: list[int], rows: QuerySet[TradingSignal], wanted: int) -> list[TradingSignal]:
    """Return the first of `rows` that have one of `ids`.

    In two queries, neither with a LIMIT: for one, Postgres would read the ledger in its order.
    """
    chosen = _EqualsAny("pk", Value(ids, output_field=ArrayField(BigIntegerField())))
    places = sorted(rows.filter(chosen).order_by().values_list("position", "pk"))
    return list(rows.filter(pk__in=[pk for _, pk in places[:wanted]]))


def find(scope: Scope, ecosystem: str, signal_id: str) -> TradingSignal | None:
    """Return one signal by its identity, if `scope` may see it."""
    rows = entitlements.visible(scope, scope.window())
    return rows.filter(ecosystem=ecosystem, signal_id=signal_id).first()


def _position(signal: TradingSignal) -> int:
    assert signal.position is not None, "a row without a position is not readable"
    return signal.position
