"""When the ledger had reached which position, told from checkpoints.

`received_at` cannot tell it: that is when a transaction, or an agent's, began, and does not grow with the
position. A checkpoint is the greatest position that a snapshot saw, with a clock read after that snapshot.
All that is at or below it was on record by then, and as nothing is ever added below a position that was seen,
this stays true. What falls between two checkpoints counts as recorded with the later one: shown late, never
early.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

EVERY_S = 1.0
"""How often a checkpoint is taken: what a delayed signal may be late."""
ALL_KEPT_FOR = timedelta(days=8)
"""Older checkpoints are thinned to one an hour, which is what limits of history and longer delays go by."""

TAKE = """
    INSERT INTO ledger_checkpoints (position, recorded_at)
    SELECT position, clock_timestamp() FROM (SELECT max(position) AS position FROM trading_signals) AS head
    WHERE position IS NOT NULL
    ON CONFLICT (position) DO NOTHING"""

THIN = """
    DELETE FROM ledger_checkpoints
    WHERE recorded_at < now() - %s AND position NOT IN (
        SELECT max(position) FROM ledger_checkpoints GROUP BY date_trunc('hour', recorded_at))"""

REACHED = """coalesce((
    SELECT position FROM ledger_checkpoints WHERE recorded_at <= {}
    ORDER BY recorded_at DESC, position DESC LIMIT 1), 0)"""

HEAD = "coalesce((SELECT max(position) FROM trading_signals), 0)"

WINDOW = f"""
    SELECT
        greatest({REACHED.format("statement_timestamp() - %(history)s::interval")},
            {REACHED.format("%(since)s::timestamptz")}),
        CASE WHEN %(delay)s::interval > interval '0'
            THEN {REACHED.format("statement_timestamp() - %(delay)s::interval")} ELSE {HEAD} END"""

FRONTIERS = f"""
    SELECT CASE WHEN delay > interval '0'
        THEN {REACHED.format("statement_timestamp() - delay")} ELSE {HEAD} END
    FROM unnest(%s::interval[]) WITH ORDINALITY AS wanted (delay, ord) ORDER BY ord"""


@dataclass(frozen=True)
class Window:
    """The part of the ledger above `floor` and up to `frontier`; nothing is ever added to it."""

    floor: int
    frontier: int


def take() -> None:
    """Note how far the ledger is now."""
    with connection.cursor() as cursor:
        cursor.execute(TAKE)


def thin() -> int:
    """Drop what is too old to be kept whole; return how many went."""
    parameters: list[Any] = [ALL_KEPT_FOR]
    with connection.cursor() as cursor:
        cursor.execute(THIN, parameters)
        return int(cursor.rowcount)


def window(delay: timedelta, history: timedelta | None, since: datetime | None = None) -> Window:
    """Return what was recorded at least `delay` ago, not before `since`, and not longer ago than `history`.

    Exact at the frontier; the floor may lie up to a checkpoint's distance too low.
    """
    if delay:
        take_if_due()
    parameters: dict[str, Any] = {"delay": delay, "history": history, "since": since}
    with connection.cursor() as cursor:
        cursor.execute(WINDOW, parameters)
        return Window(*cursor.fetchone())


def frontiers(delays: Iterable[timedelta]) -> dict[timedelta, int]:
    """Return the frontier of each delay, in one query."""
    wanted = list(delays)
    parameters: list[Any] = [wanted]
    with connection.cursor() as cursor:
        cursor.execute(FRONTIERS, parameters)
        return {delay: row[0] for delay, row in zip(wanted, cursor.fetchall(), strict=True)}


_taken_at = 0.0


def take_if_due() -> None:
    """Take a checkpoint unless this process just did: so that delayed plans work where no beat runs."""
    global _taken_at
    if time.monotonic() - _taken_at >= EVERY_S:
        _taken_at = time.monotonic()
        take()
