"""Rollups of what came in: written with each batch, read by the dashboard, the alerts and the metrics.

Their size depends on how many agents there are and for how long, never on how many signals came. What the
dashboard asks of them is in `aggregator.arrivals.queries`.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from aggregator.ledger.entries import Fate, Result
from ecosystems.market.symbols import has_certain_name
from ecosystems.signal import Signal

LAG_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86_400)
"""Upper bounds, in seconds, of the buckets in `arrival_minutes.lags`; one more is for what is later still."""

# The upserts of the rollups, after a relation `batch` with one row an agent. `seen_at` is when the agent was
# heard of, which for what comes out of the dead letters was long ago.
UPSERTS = """
    hours AS (
        INSERT INTO arrival_hours AS rollup (hour, ecosystem, agent_source, transport, accepted, duplicates,
            conflicts, refused, last_at)
        SELECT date_trunc('hour', now()), ecosystem, agent_source, transport, accepted, duplicates, conflicts,
            refused, seen_at FROM batch
        ON CONFLICT (hour, ecosystem, agent_source, transport) DO UPDATE SET
            accepted = rollup.accepted + excluded.accepted,
            duplicates = rollup.duplicates + excluded.duplicates,
            conflicts = rollup.conflicts + excluded.conflicts, refused = rollup.refused + excluded.refused,
            last_at = greatest(rollup.last_at, excluded.last_at)),
    minutes AS (
        INSERT INTO arrival_minutes AS rollup
            (minute, ecosystem, agent_source, transport, accepted, duplicates, conflicts, refused, lags)
        SELECT date_trunc('minute', now()), ecosystem, agent_source, transport, accepted, duplicates,
            conflicts, refused, lags FROM batch
        ON CONFLICT (minute, ecosystem, agent_source, transport) DO UPDATE SET
            accepted = rollup.accepted + excluded.accepted,
            duplicates = rollup.duplicates + excluded.duplicates,
            conflicts = rollup.conflicts + excluded.conflicts, refused = rollup.refused + excluded.refused,
            lags = ARRAY(
                SELECT coalesce(before, 0) + coalesce(more, 0)
                FROM unnest(rollup.lags, excluded.lags) WITH ORDINALITY AS each (before, more, bucket)
                ORDER BY bucket)),
    known AS (
        INSERT INTO agents (ecosystem, agent_source, first_seen, last_seen, last_transport, signals)
        SELECT ecosystem, agent_source, seen_at, seen_at, transport, accepted FROM batch WHERE ecosystem <> ''
        ON CONFLICT (ecosystem, agent_source) DO UPDATE SET signals = agents.signals + excluded.signals,
            last_seen = greatest(agents.last_seen, excluded.last_seen),
            last_transport = CASE WHEN excluded.last_seen < agents.last_seen THEN agents.last_transport
                ELSE excluded.last_transport END)"""

# Bounds and lag are negated, since a lag that equals a bound is within it.
BUCKET = f"""{len(LAG_BOUNDS)} - width_bucket("timestamp" - received_at, ARRAY[{
    ", ".join(f"'-{bound} seconds'" for bound in reversed(LAG_BOUNDS))
}]::interval[])"""

# Counts the signals of a relation `recorded`, in the statement that records them: whoever writes it has no
# second thing to wait for. Takes `seen_at`; what has one was kept here since, and does not count as late.
COUNT_RECORDED = f"""
    batch AS MATERIALIZED (
        SELECT ecosystem, agent_source, transport, coalesce(seen_at, now()) AS seen_at, count(*) AS accepted,
            0 AS duplicates, 0 AS conflicts, 0 AS refused, CASE WHEN seen_at IS NULL THEN ARRAY[{
    ", ".join(f"count(*) FILTER (WHERE bucket = {bucket})" for bucket in range(len(LAG_BOUNDS) + 1))
}] ELSE ARRAY[]::bigint[] END AS lags
        FROM (SELECT %s::timestamptz AS seen_at) AS heard,
            (SELECT ecosystem, agent_source, transport, {BUCKET} AS bucket FROM recorded) AS late
        GROUP BY ecosystem, agent_source, transport, seen_at ORDER BY ecosystem, agent_source),
    {UPSERTS}"""

# Follows it where symbols have no certain name: takes those, as `nameless` returns them.
COUNT_NAMELESS = """,
    symbols AS (
        INSERT INTO symbol_aliases AS known (ecosystem, symbol, instrument, first_seen, last_seen, signals)
        SELECT ecosystem, symbol, '', now(), now(), count(*)
        FROM recorded JOIN json_to_recordset(%s::json) AS nameless (ecosystem text, symbol text)
            USING (ecosystem, symbol)
        GROUP BY ecosystem, symbol ORDER BY ecosystem, symbol
        ON CONFLICT (ecosystem, symbol) DO UPDATE SET last_seen = excluded.last_seen,
            first_seen = coalesce(known.first_seen, excluded.first_seen),
            signals = known.signals + excluded.signals)"""

COUNT_REST = f"""
    WITH batch AS MATERIALIZED (
        SELECT ecosystem, agent_source, %s AS transport, now() AS seen_at, 0 AS accepted,
            duplicates, conflicts, refused, '{{}}'::bigint[] AS lags
        FROM json_to_recordset(%s::json) AS rest (ecosystem text, agent_source text, duplicates bigint,
            conflicts bigint, refused bigint)
        ORDER BY ecosystem, agent_source),
    {UPSERTS}
    SELECT"""

Agent = tuple[str, str]
"""An ecosystem and an agent's name."""


def nameless(signals: Iterable[Signal]) -> str | None:
    """Return the parameter of COUNT_NAMELESS; None where each symbol's spelling says what it is."""
    names = {(signal.ecosystem, signal.symbol) for signal in signals}
    uncertain = [
        {"ecosystem": ecosystem, "symbol": symbol}
        for ecosystem, symbol in names
        if not has_certain_name(ecosystem, symbol)
    ]
    return as_json(uncertain) if uncertain else None


def count_rest(cursor: Any, results: Iterable[Result], transport: str, seen_at: datetime | None) -> None:
    """Count by agent what was settled without being recorded, in one query of the caller's transaction.

    With a `seen_at` it is a replay, and all of it was counted when it came in: else an operator's replaying
    would raise the alert of an agent that is refused too often.
    """
    if seen_at is not None:
        return
    counts: dict[Agent, Counter[Fate]] = {}
    for result in results:
        subject = result.refusal or result.signal
        if subject and result.is_final and result.fate is not Fate.ACCEPTED:
            counts.setdefault((subject.ecosystem, subject.agent_source), Counter())[result.fate] += 1
    batch = [
        {
            "ecosystem": ecosystem,
            "agent_source": agent,
            "duplicates": fates[Fate.DUPLICATE],
            "conflicts": fates[Fate.CONFLICT],
            "refused": fates[Fate.REFUSED],
        }
        for (ecosystem, agent), fates in counts.items()
    ]
    if batch:
        cursor.execute(COUNT_REST, [transport, as_json(batch)])


def as_json(rows: list[dict[str, Any]]) -> str:
    return msgspec.json.encode(rows).decode()
