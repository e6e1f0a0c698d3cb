"""Which part of the ledger a delay and a limit of history leave visible.

`recorded_at` never decreases along the positions, so the position that a moment corresponds to is found by
halving: some twenty look-ups in the index of the positions at millions of signals. An index of its own would
cost every recorded signal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

# Up to this position everything was recorded at or before a moment. Positions without a row were drawn by
# transactions that failed: nothing will ever be recorded there.
REACHED = """(
    WITH RECURSIVE search (low, high) AS (
        SELECT coalesce(min(position), 1), coalesce(max(position), 0) + 1 FROM trading_signals
        UNION ALL
        SELECT CASE WHEN probe.recorded_at <= wanted.moment THEN probe.position + 1 ELSE low END,
            CASE WHEN probe.recorded_at <= wanted.moment THEN high ELSE middle END
        FROM (SELECT low, high, (low + high) / 2 AS middle FROM search WHERE low < high) AS step
        CROSS JOIN LATERAL (
            SELECT position, recorded_at FROM trading_signals WHERE position >= middle
            ORDER BY position LIMIT 1) AS probe)
    SELECT min(high) - 1 FROM search)"""

HEAD = "coalesce((SELECT max(position) FROM trading_signals), 0)"

WINDOW = f"""
    SELECT coalesce(max(CASE WHEN wanted.moment IS NOT NULL THEN {REACHED} END), 0), {{frontier}}
    FROM unnest(ARRAY[statement_timestamp() - %(history)s::interval, %(since)s::timestamptz])
        AS wanted (moment)"""

FRONTIER = f"(SELECT {REACHED} FROM (SELECT statement_timestamp() - %(delay)s::interval AS moment) AS wanted)"

FRONTIERS = f"""
    SELECT CASE WHEN wanted.delay > interval '0' THEN {REACHED} ELSE {HEAD} END
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
    """Return what was recorded `delay` ago or earlier, not before `since` nor longer ago than `history`."""
    parameters: dict[str, Any] = {"delay": delay, "history": history, "since": since}
    with connection.cursor() as cursor:
        cursor.execute(WINDOW.format(frontier=FRONTIER if delay else HEAD), parameters)
        return Window(*cursor.fetchone())


def frontiers(delays: Iterable[timedelta]) -> dict[timedelta, int]:
    """Return the frontier of each delay, in one query."""
    wanted = list(delays)
    parameters: list[Any] = [wanted]
    with connection.cursor() as cursor:
        cursor.execute(FRONTIERS, parameters)
        return {delay: row[0] for delay, row in zip(wanted, cursor.fetchall(), strict=True)}
