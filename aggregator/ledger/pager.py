"""Pages of signals by key: bounded steps along an index, never a count, an offset or an unbounded scan.

A `Walk` serves the feed, by position, and the operator's list, by id. Where few signals match its filters, it
ends after a while; the caller learns how far it got.
"""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import Q, QuerySet

from aggregator.models import Agent, SymbolAlias, TradingSignal
from ecosystems import ECOSYSTEMS
from ecosystems.market.symbols import instrument

MAX_PASSED = 20_000
"""Signals that one step passes. A filter that matches few would else read the ledger to its end."""
SEARCH_TIMEOUT_S = 0.5
"""After how long an operator's page that is not full yet goes no further."""
STATEMENT_TIMEOUT = "5s"
MAX_NAMES = 20
"""How many agents and instruments a search term may stand for."""
MAX_COMPARED = 5_000
"""So many of the ledger's instruments are compared with a search term."""
LOWEST, HIGHEST = -(2**63), 2**63 - 1


def each_value(column: str, comparison: str = ">=", condition: str = "true") -> str:
    """Return a relation `known (name, step)`: the ledger's values of an indexed column, in order.

    Takes the value to start at (`>=`) or behind (`>`), and the most steps; ends when `condition` is false.
    Each step is one look-up in the index: SELECT DISTINCT would read all of it.
    """
    return f"""
        WITH RECURSIVE known (name, step) AS (
            (SELECT {column}, 1 FROM trading_signals WHERE {column} {comparison} %s ORDER BY {column} LIMIT 1)
            UNION ALL
            SELECT (SELECT {column} FROM trading_signals WHERE {column} > known.name
                ORDER BY {column} LIMIT 1), step + 1
            FROM known WHERE known.name IS NOT NULL AND step < %s AND {condition})"""


def along_index(what: str, key: str, column: str = "", value: str = "%s", *, descending: bool) -> str:
    """Return a query for `what` of the signals with a value and a key above one and up to another, in order.

    The index's columns are compared and sorted by as a whole, so that only that index can answer: for
    `column = value ORDER BY id` Postgres takes the primary key where it believes that matches are near.
    """
    names, bound = ([column, key], f"{value}, %s") if column else ([key], "%s")
    columns, direction = ", ".join(names), "DESC" if descending else "ASC"
    order = ", ".join(f"{name} {direction}" for name in names)
    return f"""SELECT {what} FROM trading_signals
        WHERE ({columns}) > ({bound}) AND ({columns}) <= ({bound}) ORDER BY {order}"""


INSTRUMENTS = (
    f"{each_value('instrument')} SELECT name FROM known WHERE starts_with(upper(name), upper(%s)) LIMIT %s"
)


@dataclass(frozen=True)
class Walk:
    """The signals of `rows` in the order of a key, found along an index."""

    rows: QuerySet[TradingSignal]
    key: str = "id"
    values: Collection[tuple[str, str]] = (("", ""),)
    """Columns that have an index with the key behind it, and values of theirs; ("", "") for all signals."""
    ids: Collection[int] = ()
    """Signals that are found beside those with one of `values`."""
    descending: bool = False

    def find(
        self, low: int, high: int, limit: int, timeout_s: float
    ) -> tuple[list[TradingSignal], int | None]:
        """Return up to `limit` signals with a key above `low` and up to `high`, and the last key it passed.

        That is None where it passed all, or found `limit`. It takes `timeout_s`, or one step more.
        """
        deadline = time.monotonic() + timeout_s
        found: list[TradingSignal] = []
        while low < high:
            try:
                step, last = self._step(low, high, limit - len(found))
            except EmptyResultSet:  # the filters contradict each other
                return [], None
            found += step
            if last is None or len(found) == limit or time.monotonic() >= deadline:
                return found, last
            low, high = (low, last - 1) if self.descending else (last, high)
        return found, None

    def _step(self, low: int, high: int, limit: int) -> tuple[list[TradingSignal], int | None]:
        """Return up to `limit` signals, and the last key that was passed if there are signals beyond it."""
        passed, key = max(limit, MAX_PASSED // len(self.values)), attrgetter(self.key)
        queries, parameters = [], list[Any]()
        for column, value in self.values:
            names = [column, self.key] if column else [self.key]
            order = [f"-{name}" if self.descending else name for name in names]
            wanted, given = self.rows.order_by(*order)[:limit].query.sql_with_params()
            # Named like the table, so that the filters apply to this part of it.
            part, bounds = self._part("*", column, value, low, high)
            queries.append(f"(WITH trading_signals AS ({part} LIMIT {passed}) {wanted})")
            parameters += [*bounds, *given]
        if self.ids:
            among: dict[str, Any] = {"pk__in": self.ids, f"{self.key}__gt": low, f"{self.key}__lte": high}
            wanted, given = self.rows.filter(**among).order_by().query.sql_with_params()
            queries.append(f"({wanted})")
            parameters += given
        found = list(TradingSignal.objects.raw(" UNION ALL ".join(queries), parameters))
        if len(queries) > 1:
            once = {row.pk: row for row in found}
            found = sorted(once.values(), key=key, reverse=self.descending)[:limit]
        is_full = len(self.values) == 1 and len(found) == limit
        if is_full or not self.rows.query.where or high - low <= passed:
            return found, None
        last = self._last(low, high, passed)
        if last is None:
            return found, None
        return [row for row in found if (key(row) >= last if self.descending else key(row) <= last)], last

    def _last(self, low: int, high: int, passed: int) -> int | None:
        """Return the key up to which all signals were passed; None if no value has more than `passed`."""
        parts = [self._part(self.key, column, value, low, high) for column, value in self.values]
        query = " UNION ALL ".join(f"({part} OFFSET {passed - 1} LIMIT 1)" for part, _ in parts)
        with connection.cursor() as cursor:
            cursor.execute(query, [bound for _, bounds in parts for bound in bounds])
            keys = [key for (key,) in cursor.fetchall()]
        return (max(keys) if self.descending else min(keys)) if keys else None

    def _part(self, what: str, column: str, value: str, low: int, high: int) -> tuple[str, list[Any]]:
        bounds = [value, low, value, high] if column else [low, high]
        return along_index(what, self.key, column, descending=self.descending), bounds


@dataclass
class Page:
    """Signals, newest first, and where to go on; a cursor of None means that there is nothing there."""

    rows: list[Any]
    older: int | None = None
    """Go on with ids below this one."""
    newer: int | None = None
    """Go on with ids above this one."""
    unfinished: bool = False
    """Whether time ran out before the page was full: there may be more below `older`."""


@dataclass
class Search:
    """The signals that an operator looks for, newest first; see `Walk`."""

    filtered: QuerySet[TradingSignal]
    values: Collection[tuple[str, str]] = (("", ""),)
    ids: Collection[int] = ()
    low: int = LOWEST
    high: int = HIGHEST
    """Ids up to `low`, and `high` and those above, are not wanted."""
    read: QuerySet[TradingSignal, Any] = field(default_factory=TradingSignal.objects.all)
    """What is read of the signals that were found."""

    def page(self, size: int, before: int | None = None, after: int | None = None) -> Page:
        """Return the newest signals below `before`, or the oldest above `after`.

        Raises OperationalError (57014) when Postgres takes longer than STATEMENT_TIMEOUT for one step.
        """
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
            if after is not None:
                ids, last = self._find(max(self.low, after), self.high - 1, size + 1, descending=False)
                further = ids[size - 1] if len(ids) > size else last
                return Page(self._rows(ids[:size]), ids[0] if ids else after + 1, further)
            high = self.high if before is None else min(self.high, before)
            ids, last = self._find(self.low, high - 1, size + 1, descending=True)
            newer = None if before is None else ids[0] if ids else before - 1
            if len(ids) > size:
                return Page(self._rows(ids[:size]), ids[size - 1], newer)
            return Page(self._rows(ids), last, newer, unfinished=last is not None)

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

    def _find(self, low: int, high: int, limit: int, *, descending: bool) -> tuple[list[int], int | None]:
        walk = Walk(self.filtered.only("pk"), "id", self.values, self.ids, descending)
        found, last = walk.find(low, high, limit, SEARCH_TIMEOUT_S)
        return [signal.pk for signal in found], last

    def _rows(self, ids: list[int]) -> list[Any]:
        return list(self.read.filter(pk__in=ids).order_by("-pk"))


def search(base: QuerySet[TradingSignal], term: str, ecosystems: Collection[str] = ECOSYSTEMS) -> Search:
    """Return the search for what `term` may mean in these ecosystems: instruments, agents, ids."""
    agents = Agent.objects.filter(agent_source__icontains=term, ecosystem__in=ecosystems)
    with connection.cursor() as cursor:
        cursor.execute(INSTRUMENTS, ["", MAX_COMPARED, term, MAX_NAMES])
        names = {name for (name,) in cursor.fetchall()}
    names |= {instrument(ecosystem, term) for ecosystem in ecosystems}
    mapped = SymbolAlias.objects.filter(symbol=term, ecosystem__in=ecosystems).exclude(instrument="")
    names |= set(mapped.values_list("instrument", flat=True))
    named = agents.values_list("agent_source", flat=True).distinct()[:MAX_NAMES]
    values = [("instrument", name) for name in sorted(names)]
    values += [("agent_source", name) for name in sorted({*named, term})]
    identity = Q(ecosystem__in=ecosystems, signal_id=term)
    if term.isascii() and term.isdigit() and len(term) < 19:
        identity |= Q(pk=int(term)) | Q(position=int(term))
    ids = TradingSignal.objects.filter(identity).values_list("pk", flat=True)
    return Search(base, values, list(ids))
