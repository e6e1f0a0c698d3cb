"""Removing rows that nothing reads any more: never of the ledger."""

import logging
import time
from collections.abc import Mapping

from django.db import connection

logger = logging.getLogger("signal_hub.retention")

MAX_PRUNED_ROWS = 5000
"""Rows of one statement, which is a transaction of its own: short, so that its locks are."""
PRUNE_TIMEOUT_S = 5.0
"""How long one call takes at most; what is left is for the next."""

# Rows are skipped that another worker is removing. A minute goes only when the counters of `/metrics`, which
# must never fall, have it in them: see `counters.fold`.
OLD = {
    "arrival_minutes": """minute < now() - make_interval(days => %(days)s)
        AND minute <= (SELECT max(through) FROM arrival_totals) ORDER BY minute""",
    "arrival_hours": "hour < now() - make_interval(days => %(days)s) ORDER BY hour",
    "dead_letters": "resolved_at < now() - make_interval(days => %(days)s)",
    "unresolved_dead_letters": """last_at < now() - make_interval(days => %(days)s)
        AND resolved_at IS NULL ORDER BY last_at""",
    "dead_letter_bytes": "day < current_date - %(days)s",
    "sightings": "seen_at < now() - make_interval(days => %(days)s) ORDER BY seen_at",
    "sender_minutes": "minute < now() - make_interval(days => %(days)s) ORDER BY minute",
    # What an operator has set, published or mapped, stays.
    "agents": """last_seen < now() - make_interval(days => %(days)s)
        AND expected_cadence IS NULL AND published_at IS NULL""",
    "symbol_aliases": "last_seen < now() - make_interval(days => %(days)s) AND instrument = ''",
    "alert_notifications": "created_at < now() - make_interval(days => %(days)s)",
    "axes_accessattempt": "attempt_time < now() - make_interval(days => %(days)s)",
    "axes_accesslog": "attempt_time < now() - make_interval(days => %(days)s)",
}

REMOVE = {
    rows: f"""
    WITH old AS (
        SELECT id FROM {rows.removeprefix("unresolved_")} WHERE {old} LIMIT %(batch)s FOR UPDATE SKIP LOCKED){
        ", cadences AS (DELETE FROM agent_cadences WHERE agent_id IN (SELECT id FROM old))"
        if rows == "agents"
        else ""
    }
    DELETE FROM {rows.removeprefix("unresolved_")} WHERE id IN (SELECT id FROM old)"""
    for rows, old in OLD.items()
}


# Prices that a call which is not decided yet is scored with stay.
REMOVE["candles"] = """
    DELETE FROM candles WHERE ctid = ANY (ARRAY(
        SELECT candle.ctid FROM (
            SELECT ecosystem, instrument, least(now() - make_interval(days => %(days)s), (
                SELECT min(t0) FROM outcomes AS outcome
                WHERE outcome.ecosystem = priced.ecosystem AND outcome.instrument = priced.instrument
                    AND state IN ('waiting', 'open'))) AS since
            FROM priced_instruments AS priced) AS needed
        JOIN candles AS candle ON candle.ecosystem = needed.ecosystem
            AND candle.instrument = needed.instrument AND candle.opened_at < needed.since
        LIMIT %(batch)s))"""


def prune(keep_days: Mapping[str, int | None]) -> dict[str, int]:
    """Remove rows older than a table's days; return how many went, by table.

    Any number of processes may do so at any time.
    """
    until = time.monotonic() + PRUNE_TIMEOUT_S
    gone = {table: _prune(table, days, until) for table, days in keep_days.items() if days is not None}
    if any(gone.values()):
        logger.info("old rows removed %s", " ".join(f"{table}={count}" for table, count in gone.items()))
    return gone


def _prune(table: str, days: int, until: float) -> int:
    gone = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(REMOVE[table], {"days": days, "batch": MAX_PRUNED_ROWS})
            removed: int = cursor.rowcount
        gone += removed
        if removed < MAX_PRUNED_ROWS or time.monotonic() > until:
            return gone
