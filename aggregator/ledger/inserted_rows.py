"""Rows that agents inserted into `trading_signals`, here or in an ecosystem's own database, recorded.

The core database's own get their positions where they are; copies of the others go the way of all signals.
"""

import logging
from functools import cache
from typing import Any

from django.db import connection, connections, transaction

from aggregator import ledger
from aggregator.arrivals import rollups
from aggregator.ledger import batch_log, staging
from aggregator.ledger.entries import Entry, Fate, Result
from aggregator.ledger.errors import classified
from ecosystems.market.symbols import instrument
from ecosystems.signal import Refusal, Signal

logger = logging.getLogger("signal_hub.consumer")

CLAIM = f"""
    SELECT id, {ledger.AS_JSON} FROM trading_signals
    WHERE position IS NULL{{unmarked}} ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"""
# Elsewhere the digest is the mark of what is on record, whose position may not be known yet.
CLAIM_HERE, CLAIM_THERE = CLAIM.format(unmarked=""), CLAIM.format(unmarked=" AND digest IS NULL")

# Which table this is, whatever address, user or pooler leads to it.
TABLE = """
    SELECT pg_postmaster_start_time(), oid, 'trading_signals'::regclass::oid
    FROM pg_database WHERE datname = current_database()"""

ADOPT = f"""
    {ledger.ENTER}
    WITH numbered AS MATERIALIZED (
        SELECT ord, action, instrument, digest, nextval('trading_signals_position_seq') AS position
        FROM {staging.FEW} AS staged),
    recorded AS (
        UPDATE trading_signals AS ledger SET action = numbered.action, instrument = numbered.instrument,
            digest = numbered.digest, position = numbered.position, recorded_at = {ledger.RECORDED_AT}
        FROM numbered WHERE ledger.id = numbered.ord
        RETURNING ledger.ecosystem, ledger.agent_source, ledger.symbol, 'database' AS transport,
            ledger."timestamp",
            CASE WHEN isfinite(ledger.received_at) THEN ledger.received_at ELSE now() END AS received_at),
    {rollups.COUNT_RECORDED}{{count_nameless}}
    SELECT"""

REMOVE = "DELETE FROM trading_signals WHERE id = ANY (%s)"


def record_inserted_rows(limit: int) -> list[Result]:
    """Record up to `limit` rows that agents inserted into this database; return their results.

    Rows of transactions that are still open are not seen, and hold up nobody. A row that breaks a rule which
    no CHECK can express moves to the dead letters. Raises Outage.
    """
    with classified(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CLAIM_HERE, [limit])
        rows = cursor.fetchall()
        validated = ledger.validate([_row_entry("default", *row) for row in rows])
        signals = [
            (row_id, signal, digest)
            for (row_id, _), (_, signal, digest) in zip(rows, validated, strict=True)
            if isinstance(signal, Signal)
        ]
        results = [
            Result(Fate.REFUSED, refusal=signal)
            if isinstance(signal, Refusal)
            else Result(Fate.ACCEPTED, signal)
            for _, signal, _ in validated
        ]
        ledger.bury(cursor, [entry for entry, _, _ in validated], results, "database")
        _remove_buried(cursor, rows, results)
        if signals:
            nameless = rollups.nameless(signal for _, signal, _ in signals)
            cursor.execute(
                ADOPT.format(count_nameless=rollups.COUNT_NAMELESS if nameless else ""),
                [staging.as_json(signals), None, *([nameless] if nameless else [])],
            )
        if len(signals) < len(validated):
            ledger.count_rest(cursor, results, "database")
    batch_log.log_batch(results, "database")
    return results


MARK = """
    UPDATE trading_signals AS source
    SET digest = recorded.digest, instrument = recorded.instrument, position = recorded.position
    FROM unnest(%s::bigint[], %s::bytea[], %s::text[], %s::bigint[])
        AS recorded (id, digest, instrument, position)
    WHERE source.id = recorded.id"""

GIVEN = """
    SELECT wanted.ord, ledger.instrument, ledger.position
    FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (ecosystem, signal_id, ord)
    JOIN trading_signals AS ledger USING (ecosystem, signal_id)"""


def record_rows_of(alias: str, limit: int) -> list[Result]:
    """Record up to `limit` rows of an ecosystem's own database; return their results.

    The rows are marked there after the ledger has committed. Between the two a crash leaves them to be read
    again, as duplicates. Raises Outage for either database.
    """
    with classified(), transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(CLAIM_THERE, [limit])
        rows = cursor.fetchall()
        results = ledger.record([_row_entry(alias, *row) for row in rows], "database")
        kept = [
            (row_id, result.signal)
            for (row_id, _), result in zip(rows, results, strict=True)
            if result.signal and result.fate in {Fate.ACCEPTED, Fate.DUPLICATE}
        ]
        if kept:
            cursor.execute(MARK, _marks(kept))
        _remove_buried(cursor, rows, results)
    return results


@cache
def is_core_database(alias: str) -> bool:
    """Tell whether an ecosystem's own database is the core one by another URL. Raises Outage.

    Its rows would find themselves on record, as duplicates, and never get a position.
    """
    with classified(), connections[alias].cursor() as own, connection.cursor() as core:
        same: bool = own.execute(TABLE).fetchone() == core.execute(TABLE).fetchone()
    if same:
        logger.warning("CORE_%s_DB_URL leads to the core database: its rows are read once", alias.upper())
    return same


def _row_entry(alias: str, row_id: int, as_json: str) -> Entry:
    return Entry(as_json.encode(), sender=f"database:{alias}", entry_id=str(row_id))


def _remove_buried(cursor: Any, rows: list[tuple[int, str]], results: list[Result]) -> None:
    """Delete the rows that are dead letters now, so that their ids are free for a corrected signal."""
    dead = [
        row_id
        for (row_id, _), result in zip(rows, results, strict=True)
        if result.fate in {Fate.REFUSED, Fate.CONFLICT}
    ]
    if dead:
        cursor.execute(REMOVE, [dead])


def _marks(kept: list[tuple[int, Signal]]) -> list[list[Any]]:
    """Return the columns of MARK: what the core database gave to these signals."""
    signals = [signal for _, signal in kept]
    with connection.cursor() as cursor:
        cursor.execute(GIVEN, [[s.ecosystem for s in signals], [s.signal_id for s in signals]])
        given = {number: (name, position) for number, name, position in cursor.fetchall()}
    found = [given.get(number, ("", None)) for number in range(1, len(kept) + 1)]
    return [
        [row_id for row_id, _ in kept],
        [signal.digest() for signal in signals],
        # A duplicate of a row that is not recorded yet has no name there.
        [name or instrument(s.ecosystem, s.symbol) for (name, _), s in zip(found, signals, strict=True)],
        [position for _, position in found],
    ]
