"""Finding signals among very many: pages by key, never a count, never a scan without an end.

A page is found by walking an index from a cursor: that of an instrument or an agent where one is looked for,
else the primary key. All other filters are looked for among the rows that the walk passes; where what fits is
rare, it ends after a while, and whoever asks is told how far it got.
"""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from aggregator.models import Agent, TradingSignal
from ecosystems import ECOSYSTEMS
from ecosystems.market.symbols import instrument

LOOK_S = 0.5
"""After how long a page that is not full yet goes no further."""
STRETCH = 10_000
"""Rows that are passed between two looks at the clock. Those of one agent lie scattered: each may cost a read
of its own."""
SLACK = timedelta(minutes=5)
"""How much later than its `received_at`, the start of its transaction, a row may have got its id."""
NAMES = 20
"""How many agents and instruments a search term may stand for."""
LOWEST, HIGHEST = -(2**63), 2**63 - 1

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

LOOKED_THROUGH = 5_000
"""So many of the ledger's instruments are compared with what is searched for."""

# Walks from one instrument of the index to the next: as many steps as there are instruments, and at most one
# more than is asked for.
EACH_INSTRUMENT = """
    WITH RECURSIVE known (name, step) AS (
        (SELECT instrument, 1 FROM trading_signals ORDER BY instrument LIMIT 1)
        UNION ALL
        SELECT (SELECT instrument FROM trading_signals WHERE instrument > known.name
            ORDER BY instrument LIMIT 1), step + 1
        FROM known WHERE known.name IS NOT NULL AND step <= %s)"""

INSTRUMENTS = f"""{EACH_INSTRUMENT}
    SELECT name FROM known WHERE starts_with(upper(name), upper(%s)) LIMIT %s"""


@dataclass(frozen=True)
class Walk:
    """The rows of one instrument or agent, or all there are, in the order of their ids."""

    column: str = ""
    """One that has an index with `id` behind it; empty for the primary key."""
    value: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return (self.column, "id") if self.column else ("id",)

    def sql(self, what: str, *, down: bool) -> str:
        """Return a query with the parameters of `bounds`, without its LIMIT.

        The key is compared and sorted by as a whole, since then only the column's own index answers: for
        `column = value ORDER BY id` Postgres takes the primary key where it believes that such rows are near.
        """
        names, marks = ", ".join(self.key), ", ".join("%s" for _ in self.key)
        order = ", ".join(f"{name} {'DESC' if down else 'ASC'}" for name in self.key)
        return (
            f"SELECT {what} FROM trading_signals WHERE ({names}) >= ({marks}) AND ({names}) < ({marks}) "
            f"ORDER BY {order}"
        )

    def bounds(self, low: int, high: int) -> list[Any]:
        return [self.value, low, self.value, high] if self.column else [low, high]


@dataclass
class Page:
    """Signals, newest first, and where to go on; a cursor of None means that there is nothing there."""

    rows: list[Any]
    older: int | None = None
    """Go on with ids below this one."""
    newer: int | None = None
    """Go on with ids above this one."""
    unfinished: bool = False
    """Whether the walk ended before the page was full: there may be more beyond `older`."""


@dataclass
class Search:
    """What is looked for: rows that are on one of the `walks` or among `ids`, and that `base` lets pass."""

    base: QuerySet[TradingSignal]
    walks: list[Walk] = field(default_factory=lambda: [Walk()])
    ids: list[int] = field(default_factory=list)
    low: int = LOWEST
    high: int = HIGHEST
    """Ids below `low`, and `high` and those above, are not wanted."""
    read: QuerySet[TradingSignal, Any] = field(default_factory=TradingSignal.objects.all)
    """What is read of the rows that were found."""

    def page(self, size: int, before: int | None = None, after: int | None = None) -> Page:
        """Return the newest signals below `before`, or the oldest above `after`.

        Raises OperationalError (57014) when Postgres takes longer than five seconds for one step.
        """
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '5s'")
            if after is not None:
                ids, edge = self._look(cursor, size + 1, max(self.low, after + 1), self.high, down=False)
                further = ids[size - 1] if len(ids) > size else edge
                return Page(self._rows(ids[:size]), ids[0] if ids else after + 1, further)
            upper = self.high if before is None else min(self.high, before)
            ids, edge = self._look(cursor, size + 1, self.low, upper, down=True)
            newer = None if before is None else ids[0] if ids else before - 1
            if len(ids) > size:
                return Page(self._rows(ids[:size]), ids[size - 1], newer)
            return Page(self._rows(ids), edge, newer, unfinished=edge is not None)

    def all(self, batch: int) -> Iterator[list[Any]]:
        """Yield everything, newest first, a page at a time."""
        before = None
        while True:
            page = self.page(batch, before=before)
            if page.rows:
                yield page.rows
            if page.older is None:
                return
            before = page.older

    def _rows(self, ids: list[int]) -> list[Any]:
        return list(self.read.filter(pk__in=ids).order_by("-pk"))

    def _look(
        self, cursor: Any, most: int, low: int, high: int, *, down: bool
    ) -> tuple[list[int], int | None]:
        """Return up to `most` ids in order, and the id that was got to if there was no time for all."""
        deadline = time.monotonic() + LOOK_S
        found: list[int] = []
        while True:
            ids, edge = self._stretch(cursor, most - len(found), low, high, down=down)
            found += ids
            if edge is None or len(found) == most or time.monotonic() > deadline:
                return found, edge
            low, high = (low, edge) if down else (edge + 1, high)

    def _stretch(
        self, cursor: Any, most: int, low: int, high: int, *, down: bool
    ) -> tuple[list[int], int | None]:
        """Return up to `most` ids in order, and the last id that was passed if there are rows beyond it."""
        stretch = max(most, STRETCH // max(1, len(self.walks)))
        parts, parameters = [], list[Any]()
        for walk in self.walks:
            order = [f"-{name}" if down else name for name in walk.key]
            wanted, given = self.base.order_by(*order).values("pk")[:most].query.sql_with_params()
            # Named like the table, so that the filters read the walk in its place.
            passed = f"{walk.sql('*', down=down)} LIMIT {stretch}"
            parts.append(f"(WITH trading_signals AS ({passed}) {wanted})")
            parameters += [*walk.bounds(low, high), *given]
        if self.ids:
            chosen = self.base.filter(pk__in=self.ids, pk__gte=low, pk__lt=high).values("pk")
            wanted, given = chosen.query.sql_with_params()
            parts.append(f"({wanted})")
            parameters += given
        cursor.execute(" UNION ALL ".join(parts), parameters)
        ids = sorted({row_id for (row_id,) in cursor.fetchall()}, reverse=down)[:most]
        if not self.base.query.where or (len(self.walks) == 1 and len(ids) == most):
            return ids, None
        edge = self._edge(cursor, stretch, low, high, down=down)
        if edge is None:
            return ids, None
        return [row_id for row_id in ids if (row_id >= edge if down else row_id <= edge)], edge

    def _edge(self, cursor: Any, stretch: int, low: int, high: int, *, down: bool) -> int | None:
        """Return the id that every walk got to, None if none of them has more than `stretch` rows."""
        ends = [f"({walk.sql('id', down=down)} OFFSET {stretch - 1} LIMIT 1)" for walk in self.walks]
        bounds = [bound for walk in self.walks for bound in walk.bounds(low, high)]
        cursor.execute(" UNION ALL ".join(ends), bounds)
        edges = [row_id for (row_id,) in cursor.fetchall()]
        return (max(edges) if down else min(edges)) if edges else None


def search(base: QuerySet[TradingSignal], term: str, ecosystems: Collection[str] = ECOSYSTEMS) -> Search:
    """Return the search for what `term` may mean in these ecosystems: instruments, agents, ids."""
    agents = Agent.objects.filter(agent_source__icontains=term, ecosystem__in=ecosystems)
    with connection.cursor() as cursor:
        cursor.execute(INSTRUMENTS, [LOOKED_THROUGH - 1, term, NAMES])
        names = {name for (name,) in cursor.fetchall()}
    names |= {instrument(ecosystem, term) for ecosystem in ecosystems}
    named = agents.values_list("agent_source", flat=True).distinct()[:NAMES]
    walks = [Walk("instrument", name) for name in sorted(names)]
    walks += [Walk("agent_source", name) for name in sorted({*named, term})]
    identity = Q(ecosystem__in=ecosystems, signal_id=term)
    if term.isascii() and term.isdigit() and len(term) < 19:
        identity |= Q(pk=int(term)) | Q(position=int(term))
    ids = TradingSignal.objects.filter(identity).values_list("pk", flat=True)
    return Search(base, walks, list(ids))


def first_id(moment: datetime) -> int:
    """Return the id from which on rows were received at `moment` or later, by halving: one query."""
    with connection.cursor() as cursor:
        cursor.execute(FIRST_ID, {"moment": moment})
        return int(cursor.fetchone()[0])
