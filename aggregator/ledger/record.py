"""Recording signals. Beside it only `inserted_rows` writes `trading_signals`, for what agents insert.

Positions grow in commit order because they are drawn, and committed, under one lock: a reader that has seen
position p never later finds a new row at or below p. The lock ends with its transaction, which a transaction
pooler does not break, and is held from the INSERT to the commit only. It is that of a table, since an
advisory lock could be taken, and kept, by any role that can connect.

What is new is recorded by one statement; a few signals reach the server and are committed there in one
message, so that nothing waits for this process while it holds the lock. What turns out not to be new is
handled in a second transaction, without the lock. An entry is final after both: one that was cut off in
between comes again, as a duplicate. Followers count what is recorded.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from django.db import OperationalError, connection, transaction

from aggregator.ledger import batch_log, sql, staging
from aggregator.ledger.dead_letters import write_dead_letters
from aggregator.ledger.entries import CONFLICT, DEFERRED, FORBIDDEN, Entry, Fate, Result
from aggregator.ledger.errors import LOCK_NOT_AVAILABLE, DataFault, classified, sqlstate
from aggregator.ledger.unrecorded import count_unrecorded
from ecosystems.signal import Refusal, Signal, parse

MAX_TRANSACTION_BYTES = 32 * 1024 * 1024
"""Of entries in one transaction: their text is in the memory of both sides, several times over."""

Validated = tuple[Entry, Signal | Refusal, bytes]
"""An entry, what `parse` returned for it, and the digest of its signal (b"" for a refusal)."""


class Contended(Exception):
    """An open transaction of an agent holds the identity of a signal in this batch."""


class _Inserted(NamedTuple):
    """What the INSERT did: how many signals are new, and between which positions they and no others are."""

    new: int = 0
    first: int = 0
    last: int = 0


def record(
    entries: Sequence[Entry], transport: str, first_received_at: datetime | None = None
) -> list[Result]:
    """Validate the entries and record them; return their results in the same order.

    `first_received_at` is when they came in, where they are replayed: they count neither as a sign of life
    nor as late, and what is not recorded is not counted again. Raises Outage when the database cannot take
    them now: then no result is final, and all may be sent again. The number of queries does not grow with
    that of the entries.
    """
    return write(Batch(validate(entries)), transport, first_received_at)


def validate(entries: Sequence[Entry]) -> list[Validated]:
    """Parse the entries, each by itself. Touches no database."""
    now = datetime.now(UTC)
    return [_validate(entry, now) for entry in entries]


def _validate(entry: Entry, now: datetime) -> Validated:
    signal = entry.refusal or parse(entry.raw, now)
    if isinstance(signal, Refusal):
        return entry, signal, b""
    if entry.ecosystems is not None and signal.ecosystem not in entry.ecosystems:
        return entry, FORBIDDEN.about(signal), b""
    return entry, signal, signal.digest()


class Batch:
    """Validated entries, prepared for `write`.

    All that Postgres gets of them is made here: a thread may do so while another one writes, and no
    transaction is open all the while.
    """

    def __init__(self, validated: Sequence[Validated]) -> None:
        self.validated = validated
        self.signals: list[staging.Numbered] = [
            (number, signal, digest, entry.sender)
            for number, (entry, signal, digest) in enumerate(validated)
            if isinstance(signal, Signal)
        ]
        size = sum(len(entry.raw) for entry, _, _ in validated)
        self.too_large = len(validated) > 1 and size > MAX_TRANSACTION_BYTES
        self.staged = staging.prepare([] if self.too_large else self.signals)

    @property
    def entries(self) -> list[Entry]:
        return [entry for entry, _, _ in self.validated]

    def halves(self) -> tuple["Batch", "Batch"]:
        middle = len(self.validated) // 2
        return Batch(self.validated[:middle]), Batch(self.validated[middle:])


def write(batch: Batch, transport: str, first_received_at: datetime | None = None) -> list[Result]:
    """Record a batch; see `record`."""
    if not batch.validated:
        return []
    if batch.too_large:
        return _write_halves(batch, transport, first_received_at)
    try:
        with classified():
            results = _write(batch, transport, first_received_at)
    except (DataFault, Contended) as fault:
        if len(batch.validated) > 1:
            return _write_halves(batch, transport, first_received_at)
        [(entry, signal, _)] = batch.validated
        if isinstance(signal, Refusal):
            raise  # a dead letter takes any bytes: this is a bug
        if isinstance(fault, Contended):
            return [_deferred(signal)]
        refusal = Refusal("database_refused", str(fault)).about(signal)
        return write(Batch([(entry, refusal, b"")]), transport, first_received_at)
    batch_log.log_batch(results, transport)
    return results


def _write_halves(batch: Batch, transport: str, first_received_at: datetime | None) -> list[Result]:
    first, second = batch.halves()
    return write(first, transport, first_received_at) + write(second, transport, first_received_at)


def _write(batch: Batch, transport: str, first_received_at: datetime | None) -> list[Result]:
    inserted = _insert(batch.staged, transport, first_received_at) if batch.signals else _Inserted()
    if inserted.new == len(batch.validated):
        return [Result(Fate.ACCEPTED, signal) for _, signal, _, _ in batch.signals]
    with transaction.atomic(), connection.cursor() as cursor:
        found = _find(cursor, batch.signals, inserted) if batch.signals else {}
        results = [
            _result(signal, found.get(number)) for number, (_, signal, _) in enumerate(batch.validated)
        ]
        _add_sightings(cursor, batch, found, transport)
        write_dead_letters(cursor, batch.entries, results, transport)
        # Replayed entries were counted when they came in: else an operator's replaying would raise the alert
        # of an agent that is refused too often.
        if first_received_at is None:
            count_unrecorded(cursor, results, transport)
    return results


def _insert(staged: staging.Staged, transport: str, first_received_at: datetime | None) -> _Inserted:
    """Record the signals that are new, in a transaction that is over when this returns."""
    parameters = {
        "signals": staged.inline,
        "transport": transport,
        "first_received_at": first_received_at,
    }
    # To Postgres, the statements of one message are a transaction by themselves.
    alone = not staged.copied and not connection.in_atomic_block
    try:
        with nullcontext() if alone else transaction.atomic(), connection.cursor() as cursor:
            if staged.copied:
                staging.copy_in(cursor, staged)
            cursor.execute(staged.statement, parameters)
            while cursor.nextset():
                pass
            return _Inserted(*cursor.fetchone())
    except OperationalError as error:
        if sqlstate(error) == LOCK_NOT_AVAILABLE:
            raise Contended from error
        raise


def _find(
    cursor: Any, signals: Sequence[staging.Numbered], inserted: _Inserted
) -> dict[int, tuple[Fate, int]]:
    """Return each signal's fate and row by its number; of one whose row has just gone, nothing."""
    identities = [
        {"ord": number, "ecosystem": signal.ecosystem, "signal_id": signal.signal_id}
        for number, signal, _, _ in signals
    ]
    digests = {number: digest for number, _, digest, _ in signals}
    found: dict[int, tuple[Fate, int]] = {}
    ours: set[int] = set()
    parameters = {"identities": msgspec.json.encode(identities).decode()}
    cursor.execute(sql.FIND_RECORDED, parameters | {"first": inserted.first, "last": inserted.last})
    for number, row_id, digest, is_ours, as_json in cursor.fetchall():
        if is_ours and row_id not in ours:
            ours.add(row_id)  # the first of this identity in the batch is the one that was inserted
            found[number] = (Fate.ACCEPTED, row_id)
            continue
        known = bytes(digest) if digest else _digest_of(as_json)
        found[number] = (Fate.DUPLICATE if known == digests[number] else Fate.CONFLICT, row_id)
    return found


def _digest_of(as_json: str) -> bytes:
    """Return the digest of a row that an agent inserted and that is not recorded yet."""
    signal = parse(as_json.encode())
    return signal.digest() if isinstance(signal, Signal) else b""


def _add_sightings(cursor: Any, batch: Batch, found: dict[int, tuple[Fate, int]], transport: str) -> None:
    """Remember which signals came again, and from where."""
    duplicates = [(number, row_id) for number, (fate, row_id) in found.items() if fate is Fate.DUPLICATE]
    if duplicates:
        parameters = {
            "transport": transport,
            "signals": [row_id for _, row_id in duplicates],
            "senders": [batch.validated[number][0].sender for number, _ in duplicates],
        }
        cursor.execute(sql.ADD_SIGHTINGS, parameters)


def _result(signal: Signal | Refusal, found: tuple[Fate, int] | None) -> Result:
    if isinstance(signal, Refusal):
        return Result(Fate.REFUSED, refusal=signal)
    if found is None:
        return _deferred(signal)  # an agent's row was in its way, and was removed since
    fate, _ = found
    return Result(fate, signal, CONFLICT.about(signal) if fate is Fate.CONFLICT else None)


def _deferred(signal: Signal) -> Result:
    return Result(Fate.DEFERRED, signal, DEFERRED.about(signal))
