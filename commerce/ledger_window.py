"""Which part of the ledger, and of what was decided of calls, a delay and a history leave visible."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection

from aggregator.ledger.bisection import first_since

LAST_BEFORE = f"{first_since('position', 'recorded_at', 'wanted.moment')} - 1"
LAST = "coalesce((SELECT max(position) FROM trading_signals), 0)"
DECIDED_BEFORE = f"{first_since('id', 'decided_at', 'wanted.moment', 'outcome_events')} - 1"
LAST_DECIDED = "coalesce((SELECT max(id) FROM outcome_events), 0)"
MAX_DECIDING = "interval '1 minute'"
"""So long before its commit something may be said to have been decided."""

WINDOW = f"""
    SELECT coalesce(max(CASE WHEN wanted.moment IS NOT NULL THEN {LAST_BEFORE} END), 0), {{frontier}}
    FROM unnest(ARRAY[statement_timestamp() - %(history)s::interval, %(since)s::timestamptz])
        AS wanted (moment)"""

FRONTIER = (
    f"(SELECT {LAST_BEFORE} FROM (SELECT statement_timestamp() - %(delay)s::interval AS moment) AS wanted)"
)

FRONTIERS = f"""
    SELECT CASE WHEN wanted.delay > interval '0' THEN {LAST_BEFORE} ELSE {LAST} END,
        CASE WHEN wanted.delay > interval '0' THEN {DECIDED_BEFORE} ELSE {LAST_DECIDED} END
    FROM (
        SELECT delay, statement_timestamp() - delay AS moment, ord
        FROM unnest(%s::interval[]) WITH ORDINALITY AS asked (delay, ord)) AS wanted
    ORDER BY wanted.ord"""

DECIDED_BY = f"""
    SELECT {DECIDED_BEFORE}
    FROM (
        SELECT coalesce((SELECT recorded_at FROM trading_signals WHERE position <= %(position)s
            ORDER BY position DESC LIMIT 1), '-infinity') - {MAX_DECIDING} AS moment) AS wanted"""


class Place(NamedTuple):
    """How far a reader is: in the ledger, and in what was decided of its calls."""

    position: int
    decided: int
    """An id of `outcome_events`; these grow in commit order as positions do."""

    def is_behind(self, frontier: "Place") -> bool:
        """Return whether there is something between here and a frontier."""
        return self.position < frontier.position or self.decided < frontier.decided


@dataclass(frozen=True)
class Window:
    """The part of the ledger above `floor` and up to `frontier`; nothing is ever added to it."""

    floor: int
    frontier: int


def window(delay: timedelta, history: timedelta | None, since: datetime | None = None) -> Window:
    """Return what was recorded over `delay` ago, not before `since` and not longer than `history` ago."""
    parameters: dict[str, Any] = {"delay": delay, "history": history, "since": since}
    with connection.cursor() as cursor:
        cursor.execute(WINDOW.format(frontier=FRONTIER if delay else LAST), parameters)
        return Window(*cursor.fetchone())


def frontiers(delays: Iterable[timedelta]) -> dict[timedelta, Place]:
    """Return the frontier of each delay, in one query."""
    wanted = list(delays)
    with connection.cursor() as cursor:
        cursor.execute(FRONTIERS, [wanted])
        return {delay: Place(*row) for delay, row in zip(wanted, cursor.fetchall(), strict=True)}


def decided_by(position: int) -> int:
    """Return up to where was decided when `position` was recorded, or a minute less far."""
    with connection.cursor() as cursor:
        cursor.execute(DECIDED_BY, {"position": position})
        return int(cursor.fetchone()[0])
