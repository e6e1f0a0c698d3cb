"""Finding signals among very many: pages by key, never a count, never a scan without an end.

A page is found by walking an index from a cursor. Instrument, agent and id have an index in the list's order;
ecosystem, transport and the like are looked for among the next WINDOW ids only, and whoever asks is told how
far that got.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Max, Min, Q, QuerySet

from aggregator.models import Agent, TradingSignal
from ecosystems import ECOSYSTEMS
from ecosystems.symbols import instrument

WINDOW = 500_000
"""Ids that one page looks through: some 100 ms."""
SLACK = timedelta(minutes=5)
"""How much later than its `received_at`, the start of its transaction, a row may have got its id."""
NAMES = 20
"""How many agents and instruments a search term may stand for."""

FIRST_ID = """
    WITH RECURSIVE search (low, high) AS (
        SELECT coalesce(min(id), 0), coalesce(max(id), 0) + 1 FROM trading_signals
        UNION ALL
        SELECT CASE WHEN probe.received_at < %(moment)s THEN probe.id + 1 ELSE low END,
            CASE WHEN probe.received_at < %(moment)s THEN high ELSE middle END
        FROM (SELECT low, high, (low + high) / 2 AS middle FROM search WHERE low < high) AS step
        CROSS JOIN LATERAL (
            SELECT id, received_at FROM trading_signals WHERE id >= middle ORDER BY id LIMIT 1) AS probe)
    SELECT min(high) FROM search"""

# Walks from one instrument of the index to the next: as many steps as there are instruments.
INSTRUMENTS = """
    WITH RECURSIVE known (name, step) AS (
        (SELECT instrument, 1 FROM trading_signals ORDER BY instrument LIMIT 1)
        UNION ALL
        SELECT (SELECT instrument FROM trading_signals WHERE instrument > known.name
            ORDER BY instrument LIMIT 1), step + 1
        FROM known WHERE known.name IS NOT NULL AND step < 5000)
    SELECT name FROM known WHERE starts_with(upper(name), upper(%s)) LIMIT %s"""


@dataclass
class Page:
    """Signals, newest first, and where to go on; a cursor of None means that there is nothing there."""

    rows: list[TradingSignal]
    older: int | None = None
    """Go on with ids below this one."""
    newer: int | None = None
    """Go on with ids above this one."""
    unfinished: bool = False
    """Whether the window ended before the page was full: there may be more beyond `older`."""


@dataclass
class Search:
    """What is looked for: `base` holds the filters, `branches` what the search term may mean, if any."""

    base: QuerySet[TradingSignal]
    branches: list[Q] | None = None
    indexed: bool = False
    """Whether `base` has a condition that an index answers, so that no window is needed."""
    low: int = 0
    high: int | None = None
    """Ids outside these are not wanted."""

    def page(self, size: int, before: int | None = None, after: int | None = None) -> Page:
        """Return the newest signals below `before`, or the oldest above `after`.

        Raises OperationalError (57014) when Postgres takes longer than five seconds.
        """
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = '5s'")
            rows, edge = self._forward(size, after) if after is not None else self._backward(size, before)
        more = len(rows) > size
        rows = rows[:size]
        if after is not None:
            rows.reverse()
            newer = rows[0].pk if more and rows else edge
            return Page(rows, rows[-1].pk if rows else after + 1, newer)
        older = rows[-1].pk if more else edge
        return Page(rows, older, rows[0].pk if rows and before else None, bool(edge and not more))

    def all(self, batch: int) -> Iterator[list[TradingSignal]]:
        """Yield everything, newest first, a page at a time."""
        before = None
        while True:
            page = self.page(batch, before=before)
            if page.rows:
                yield page.rows
            if page.older is None:
                return
            before = page.older

    def _backward(self, size: int, before: int | None) -> tuple[list[TradingSignal], int | None]:
        """Return up to `size` + 1 rows below `before`, and where the window ended if it ended too early."""
        first, beyond = _ends()
        upper = min(value for value in (before, self.high, beyond) if value is not None)
        lowest = max(self.low, first)
        found = self.base.filter(pk__lt=upper, pk__gte=lowest)
        if self.branches is not None or self.indexed:
            return self._pick(found, "-pk", size), None
        lower = max(lowest, upper - WINDOW)
        rows = list(found.filter(pk__gte=lower).order_by("-pk")[: size + 1])
        return rows, lower if len(rows) <= size and lower > lowest else None

    def _forward(self, size: int, after: int) -> tuple[list[TradingSignal], int | None]:
        last = _ends()[1]
        beyond = last if self.high is None else min(self.high, last)
        lower = max(self.low, after + 1)
        found = self.base.filter(pk__gte=lower, pk__lt=beyond)
        if self.branches is not None or self.indexed:
            return self._pick(found, "pk", size), None
        upper = lower + WINDOW
        rows = list(found.filter(pk__lt=upper).order_by("pk")[: size + 1])
        return rows, upper - 1 if len(rows) <= size and upper < beyond else None

    def _pick(self, found: QuerySet[TradingSignal], order: str, size: int) -> list[TradingSignal]:
        if self.branches is None:
            return list(found.order_by(order)[: size + 1])
        ids: set[int] = set()
        picks = [found.filter(branch).order_by(order).values("pk")[: size + 1] for branch in self.branches]
        if picks:
            ids = {row["pk"] for row in picks[0].union(*picks[1:], all=True)}
        wanted = sorted(ids, reverse=order == "-pk")[: size + 1]
        return list(TradingSignal.objects.filter(pk__in=wanted).order_by(order))


def branches(term: str, ecosystems: Collection[str] = ECOSYSTEMS) -> list[Q]:
    """Return what a search term may mean in these ecosystems, each of it a walk along one index."""
    agents = Agent.objects.filter(agent_source__icontains=term, ecosystem__in=ecosystems)
    with connection.cursor() as cursor:
        cursor.execute(INSTRUMENTS, [term, NAMES])
        names = {name for (name,) in cursor.fetchall()}
    names |= {instrument(ecosystem, term) for ecosystem in ecosystems}
    found = [Q(ecosystem=ecosystem, signal_id=term) for ecosystem in ecosystems]
    found += [Q(instrument=name) for name in sorted(names)]
    named = agents.values_list("agent_source", flat=True).distinct()[:NAMES]
    found += [Q(agent_source=name) for name in sorted({*named, term})]
    if term.isascii() and term.isdigit() and len(term) < 19:
        found += [Q(pk=int(term)), Q(position=int(term))]
    return found


def first_id(moment: datetime) -> int:
    """Return the id from which on rows were received at `moment` or later, by halving: one query."""
    with connection.cursor() as cursor:
        cursor.execute(FIRST_ID, {"moment": moment})
        return int(cursor.fetchone()[0])


def _ends() -> tuple[int, int]:
    """Return the first id there is, and one more than the last."""
    ends = TradingSignal.objects.aggregate(first=Min("pk"), last=Max("pk"))
    return ends["first"] or 0, (ends["last"] or 0) + 1
