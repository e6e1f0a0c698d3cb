"""The feed: signals in the ledger's order, a page at a time, each exactly once.

A page is read behind a cursor and up to a frontier that was fixed before, so the cursor may move to the
frontier when nothing else was found: no signal can appear behind it later. A page may therefore be empty and
still have more to come: a reader goes on while `has_more`.
"""

import time
from dataclasses import dataclass
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import connection
from django.db.models import BigIntegerField, BooleanField, Func, Q, QuerySet, Value

from aggregator.ledger.pager import EACH_INSTRUMENT
from aggregator.models import TradingSignal
from commerce import entitlements
from commerce.entitlements import Scope
from commerce.ledger_window import Window
from ecosystems.signal import EARLIEST, MAX_AHEAD

SPAN = 20_000
"""Positions that one query looks at. A filter that finds little would else read the ledger to its end."""
WIDEST_SPAN = 32 * SPAN
QUICK_S = 0.002
"""A query faster than this had an index for its filter, or a gap: the next one may look at twice as much."""
DENSE = SPAN // 200
"""What is found so often in a first span is read on by spans, whatever the ledger's size."""
RARE = 10_000
"""So many signals of instruments or of an agent are looked up one by one. At 5,000,000 signals, 500 of them
of one instrument, their page took 31 requests of LOOK_FOR_S by spans; by their ids it takes one."""
LOOK_FOR_S = 0.25
"""How long one page is looked for before the reader gets what was found so far."""
MOST_INSTRUMENTS = 5_000
"""So many the ledger may have, and so many of them a plan's patterns may match, to be looked up by name."""
MOST_LOOKED_UP = 200

# Of the ledger itself, not of `feed_series`: that keeps the names that signals had when they came, and an
# operator may have mended them since.
INSTRUMENTS = f"""{EACH_INSTRUMENT}
    SELECT coalesce(max(step), 0), coalesce(array_agg(name) FILTER (WHERE name ~ %s), '{{}}') FROM known"""


@dataclass(frozen=True)
class Filters:
    """What of the visible signals a reader wants; None means all."""

    ecosystem: str | None = None
    instrument: str | None = None
    action: str | None = None
    agent: str | None = None
    since: datetime | None = None
    """The earliest `timestamp`, aware."""

    def condition(self, *, in_order: bool = False) -> Q:
        """Return the condition for rows of `entitlements.visible`."""
        wanted = {
            "ecosystem": self.ecosystem,
            "passed_instrument" if in_order else "instrument": self.instrument,
            "action": self.action,
            "passed_agent" if in_order else "agent_source": self.agent,
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

    Its cost does not depend on the ledger's size. Its position is never below `after`.
    """
    since = max(filters.since, EARLIEST) - MAX_AHEAD if filters.since else None
    window = scope.window(since)
    passed = entitlements.visible(scope, window, in_order=True).filter(filters.condition(in_order=True))
    passed = passed.order_by("position")
    start, wanted = max(after, window.floor), limit + 1
    found, position = _by_spans(passed, start, min(start + SPAN, window.frontier), wanted)
    if position < window.frontier and len(found) < min(wanted, DENSE):
        ids = _few(scope, filters)
        if ids is not None:
            rows = entitlements.visible(scope, Window(position, window.frontier)).filter(filters.condition())
            found += _among(ids, rows.order_by("position"), wanted - len(found))
            position = window.frontier
    more, position = _by_spans(passed, position, window.frontier, wanted - len(found))
    found += more
    if len(found) > limit:
        return Page(found[:limit], _position(found[limit - 1]), has_more=True)
    return Page(found, max(position, after), has_more=position < window.frontier)


Rows = QuerySet[TradingSignal]


def _by_spans(rows: Rows, position: int, frontier: int, wanted: int) -> tuple[list[TradingSignal], int]:
    """Return the next rows up to `frontier`, and how far was looked for them: LOOK_FOR_S, or a query more."""
    found: list[TradingSignal] = []
    span, now = SPAN, time.monotonic()
    deadline = now + LOOK_FOR_S
    while position < frontier and len(found) < wanted and now < deadline:
        started, upto = now, min(position + span, frontier)
        found += rows.filter(position__gt=position, position__lte=upto)[: wanted - len(found)]
        position, now = upto, time.monotonic()
        if now - started < QUICK_S:
            span = min(span * 2, WIDEST_SPAN)
    return found, position


def _few(scope: Scope, filters: Filters) -> list[int] | None:
    """Return the ids of all signals of the wanted instruments or agent; None where they are not RARE.

    An index alone answers it. Rows that come later lie behind any frontier that was fixed before.
    """
    lookups = []
    if filters.instrument is not None:
        lookups.append(Q(instrument=filters.instrument))
    elif scope.instruments and (names := _instruments(scope)) is not None:
        lookups.append(Q(instrument__in=names))
    if filters.agent is not None:
        lookups.append(Q(agent_source=filters.agent))
    for condition in lookups:
        ids = list(TradingSignal.objects.filter(condition).values_list("pk", flat=True)[: RARE + 1])
        if len(ids) <= RARE:
            return ids
    return None


def _instruments(scope: Scope) -> list[str] | None:
    """Return the ledger's instruments that `scope` covers; None where either are too many to look at."""
    with connection.cursor() as cursor:
        cursor.execute(INSTRUMENTS, [MOST_INSTRUMENTS, entitlements.patterns_regex(scope.instruments)])
        steps, names = cursor.fetchone()
    return names if steps <= MOST_INSTRUMENTS and len(names) <= MOST_LOOKED_UP else None


class _IsAnyOf(Func):
    """Whether a column is one of an array's values: one parameter, where `__in` would make one of each.

    Of 10,000 the parsing alone would take longer than looking them up.
    """

    template = "(%(expressions)s))"
    arg_joiner = " = ANY ("
    output_field = BooleanField()


def _among(ids: list[int], rows: Rows, wanted: int) -> list[TradingSignal]:
    """Return the first of `rows` that have one of `ids`.

    In two steps, neither with a LIMIT, for which the database would look through the ledger in its order.
    """
    chosen = _IsAnyOf("pk", Value(ids, output_field=ArrayField(BigIntegerField())))
    places = sorted(rows.filter(chosen).order_by().values_list("position", "pk"))
    return list(rows.filter(pk__in=[pk for _, pk in places[:wanted]]))


def find(scope: Scope, ecosystem: str, signal_id: str) -> TradingSignal | None:
    """Return one signal by its identity, if `scope` may see it."""
    rows = entitlements.visible(scope, scope.window())
    return rows.filter(ecosystem=ecosystem, signal_id=signal_id).first()


def _position(signal: TradingSignal) -> int:
    assert signal.position is not None, "a row without a position is not readable"
    return signal.position
