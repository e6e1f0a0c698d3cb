"""Which part of the ledger a delay and a limit of history leave visible."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from aggregator.ledger.bisection import first_since

LAST_BEFORE = f"{first_since('position', 'recorded_at', 'wanted.moment')} - 1"
LAST = "coalesce((SELECT max(position) FROM trading_signals), 0)"

WINDOW = f"""
    SELECT coalesce(max(CASE WHEN wanted.moment IS NOT NULL THEN {LAST_BEFORE} END), 0), {{frontier}}
    FROM unnest(ARRAY[statement_timestamp() - %(history)s::interval, %(since)s::timestamptz])
        AS wanted (moment)"""

FRONTIER = (
    f"(SELECT {LAST_BEFORE} FROM (SELECT statement_timestamp() - %(delay)s::interval AS moment) AS wanted)"
)

FRONTIERS = f"""
    SELECT CASE WHEN wanted.delay > interval '0' THEN {LAST_BEFORE} ELSE {LAST} END
    FROM (
        SELECT delay, statement_timestamp() - delay AS moment, ord
        FROM unnest(%s::interval[]) WITH ORDINALITY AS asked (delay, ord)) AS wanted
    ORDER BY wanted.ord"""


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


def frontiers(delays: Iterable[timedelta]) -> dict[timedelta, int]:
    """Return the frontier of each delay, in one query."""
    wanted = list(delays)
    parameters: list[Any] = [wanted]
    with connection.cursor() as cursor:
        cursor.execute(FRONTIERS, parameters)
        return {delay: row[0] for delay, row in zip(wanted, cursor.fetchall(), strict=True)}
