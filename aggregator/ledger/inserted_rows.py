"""Recording the rows that agents insert into `trading_signals`, here or in an ecosystem's own database.

Those of the core database get their positions where they are; copies of the others are recorded like all
signals.
"""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import connection, connections, transaction

from aggregator.ledger import sql
from aggregator.ledger.dead_letters import write_dead_letters
from aggregator.ledger.entries import Entry, Fate, Result
from aggregator.ledger.errors import classified
from aggregator.ledger.record import log_batch, record, validate
from aggregator.ledger.recording import as_json
from aggregator.ledger.unrecorded import count_unrecorded
from ecosystems.market.symbols import instrument
from ecosystems.signal import Refusal, Signal

logger = logging.getLogger("signal_hub.consumer")


def record_inserted_rows(limit: int) -> list[Result]:
    """Record up to `limit` rows that agents inserted into the core database; return their results.

    Rows of transactions that are still open are not seen, and delay no others. A row that breaks a rule which
    no CHECK can express moves to the dead letters. Raises Outage.
    """
    with classified(), transaction.atomic(), connection.cursor() as cursor:
        entries = _claim(cursor, sql.CLAIM_INSERTED, limit)
        validated = validate(entries)
        results = [
            Result(Fate.REFUSED, refusal=signal)
            if isinstance(signal, Refusal)
            else Result(Fate.ACCEPTED, signal)
            for _, signal, _ in validated
        ]
        # The ledger's lock comes last: its holder waits for nothing else.
        write_dead_letters(cursor, entries, results, "database", is_replay=False)
        _delete_refused(cursor, entries, results)
        count_unrecorded(cursor, entries, results, "database")
        signals = [
            (int(entry.entry_id), signal, digest, entry.sender)
            for entry, signal, digest in validated
            if isinstance(signal, Signal)
        ]
        if signals:
            cursor.execute(sql.RECORD_INSERTED, {"signals": as_json(signals)})
    log_batch(results, "database")
    return results


def record_rows_of(alias: str, limit: int) -> list[Result]:
    """Record up to `limit` rows of an ecosystem's own database; return their results.

    The rows are marked there after the ledger has committed. Between the two a crash leaves them to be read
    again, as duplicates. Raises Outage for either database.
    """
    with classified(), transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        entries = _claim(cursor, sql.CLAIM_INSERTED_ELSEWHERE, limit)
        results = record(entries, "database")
        recorded = [
            (int(entry.entry_id), result.signal)
            for entry, result in zip(entries, results, strict=True)
            if result.signal and result.fate in {Fate.ACCEPTED, Fate.DUPLICATE}
        ]
        if recorded:
            cursor.execute(sql.MARK_INSERTED, _marks(recorded))
        _delete_refused(cursor, entries, results)
    return results


def record_repeated_rows(alias: str, limit: int) -> list[Result]:
    """Compare up to `limit` rows that agents inserted under a taken identity with what is on record.

    They become duplicates or conflicts, as over every other transport; new signals where the first row of the
    identity has gone. A crash before the end leaves them to be compared again. Raises Outage.
    """
    with classified(), connections[alias].cursor() as cursor:
        cursor.execute(sql.FIND_REPEATED, {"limit": limit})
        rows = cursor.fetchall()
        results = record([Entry(as_json.encode(), sender) for _, sender, as_json in rows], "database")
        for statement, is_final in ((sql.DELETE_REPEATED, True), (sql.DEFER_REPEATED, False)):
            pairs = zip(rows, results, strict=True)
            if ids := [row_id for (row_id, *_), result in pairs if result.is_final is is_final]:
                cursor.execute(statement, {"ids": ids})
    return results


def longest_wait_s(alias: str) -> float:
    """Return for how long a row of a database has waited to be recorded; 0.0 where none waits."""
    with connections[alias].cursor() as cursor:
        cursor.execute(sql.FIND_OLDEST_INSERTED)
        oldest: tuple[float] | None = cursor.fetchone()
    return oldest[0] if oldest else 0.0


@cache
def is_core_database(alias: str) -> bool:
    """Return whether an ecosystem's own database is the core one by another URL. Raises Outage.

    Its rows would find themselves on record, as duplicates, and never get a position.
    """
    with classified(), connections[alias].cursor() as own, connection.cursor() as core:
        same: bool = own.execute(sql.FIND_TABLE).fetchone() == core.execute(sql.FIND_TABLE).fetchone()
    if same:
        logger.warning("CORE_%s_DB_URL leads to the core database: its rows are read once", alias.upper())
    return same


def _claim(cursor: Any, statement: str, limit: int) -> list[Entry]:
    """Lock rows for the transaction; return them as entries with the rows' ids."""
    cursor.execute(statement, {"limit": limit})
    return [
        Entry(as_json.encode(), sender, entry_id=str(row_id)) for row_id, sender, as_json in cursor.fetchall()
    ]


def _delete_refused(cursor: Any, entries: Sequence[Entry], results: Sequence[Result]) -> None:
    """Delete the rows that are dead letters now, so that their ids are free for a corrected signal."""
    refused = [
        int(entry.entry_id)
        for entry, result in zip(entries, results, strict=True)
        if result.fate in {Fate.REFUSED, Fate.CONFLICT}
    ]
    if refused:
        cursor.execute(sql.DELETE_INSERTED, {"ids": refused})


def _marks(recorded: list[tuple[int, Signal]]) -> dict[str, list[Any]]:
    """Return the parameters of MARK_INSERTED: what the core database gave to these signals."""
    signals = [signal for _, signal in recorded]
    identities = {
        "ecosystems": [signal.ecosystem for signal in signals],
        "signal_ids": [signal.signal_id for signal in signals],
    }
    with connection.cursor() as cursor:
        cursor.execute(sql.FIND_POSITIONS, identities)
        found = cursor.fetchall()
    return {
        "ids": [row_id for row_id, _ in recorded],
        "digests": [signal.digest() for signal in signals],
        # A duplicate of a row that is not recorded yet has no instrument there.
        "instruments": [
            name or instrument(signal.ecosystem, signal.symbol)
            for (name, _, _), signal in zip(found, signals, strict=True)
        ],
        "positions": [position for _, position, _ in found],
        "times": [recorded_at for _, _, recorded_at in found],
    }
