"""The ledger: the only writer of `trading_signals`, with `inserted_rows` for what agents inserted.

Positions grow in commit order because they are drawn, and committed, under one lock: a reader that has seen
position p never later finds a new row at or below p. The lock ends with its transaction, which a transaction
pooler does not break, and is held from the INSERT to the commit only. It is that of a table, since an
advisory lock could be taken, and kept, by any role that can connect.

What is new is recorded, and counted, by one statement; a few signals reach the server and are committed
there in one message, so that nobody waits for this process while it holds the lock. What turns out not to be
new is settled in a second transaction. An entry is final after both: one that was cut off in between comes
again, as a duplicate.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import OperationalError, connection, transaction

from aggregator.arrivals import rollups
from aggregator.ledger import batch_log, dead_letters, staging
from aggregator.ledger.entries import CONFLICT, DEFERRED, FORBIDDEN, Entry, Fate, Result
from aggregator.ledger.errors import LOCK_NOT_AVAILABLE, DataFault, classified, sqlstate
from ecosystems.signal import Refusal, Signal, parse

# A row whose identity an open transaction of an agent holds would make the INSERT, and with it every other
# door, wait for that transaction.
LOCK_TIMEOUT = "100ms"

# The table's own lock is taken before the ledger's, so that a migration makes this transaction wait and not
# everyone behind it.
ENTER = f"""
    SET LOCAL statement_timeout = '30s';
    LOCK TABLE trading_signals IN ROW EXCLUSIVE MODE;
    LOCK TABLE ledger_lock IN EXCLUSIVE MODE;
    SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';"""

# Read under the lock, once a statement; never smaller than that of a lower position, whatever the clock does.
RECORDED_AT = """(SELECT greatest(clock_timestamp(), (
            SELECT recorded_at FROM trading_signals
            WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1)))"""

INSERT = f"""
    {ENTER}
    WITH recorded AS (
        INSERT INTO trading_signals ({staging.COLUMNS}, transport, position, recorded_at)
        SELECT {staging.COLUMNS}, %s, nextval('trading_signals_position_seq'), {RECORDED_AT}
        FROM {{staged}} AS staged
        ON CONFLICT (ecosystem, signal_id) DO NOTHING
        RETURNING ecosystem, agent_source, symbol, transport, "timestamp", received_at, position),
    {rollups.COUNT_RECORDED}{{count_nameless}}
    SELECT count(*), coalesce(min(position), 0), coalesce(max(position), 0) FROM recorded"""

# One text of a row for `parse`, so that one function validates inserted rows and bytes from outside.
AS_JSON = """jsonb_build_object(
    'signal_id', signal_id, 'ecosystem', ecosystem, 'timestamp', "timestamp", 'symbol', symbol,
    'action', action, 'signal_type', signal_type, 'entry_price', entry_price, 'stop_loss', stop_loss,
    'take_profit', take_profit, 'volume', volume, 'confidence', confidence,
    'agent_source', agent_source, 'tags', tags, 'raw_payload', raw_payload)::text"""

FOUND = f"""
    SELECT staged.ord, ledger.id, ledger.digest, coalesce(ledger.position BETWEEN %s AND %s, false),
        CASE WHEN ledger.digest IS NULL THEN ledger.as_json END
    FROM json_to_recordset(%s::json) AS staged (ord bigint, ecosystem text, signal_id text)
    JOIN (SELECT id, ecosystem, signal_id, digest, position, {AS_JSON} AS as_json FROM trading_signals)
        AS ledger USING (ecosystem, signal_id)
    ORDER BY staged.ord"""

SIGHTINGS = """
    INSERT INTO sightings (signal_id, transport, sender, seen_at)
    SELECT signal_id, %s, sender, now() FROM unnest(%s::bigint[], %s::text[]) AS again (signal_id, sender)"""

MAX_TRANSACTION_BYTES = 32 * 1024 * 1024
"""Of entries in one transaction: their text is in the memory of both sides, several times over."""

Validated = tuple[Entry, Signal | Refusal, bytes]
"""An entry, what `parse` says of it, and the digest of its signal (b"" for a refusal)."""


class Contended(Exception):
    """An open transaction of an agent holds the identity of a signal in this batch."""


class _Inserted(NamedTuple):
    """What the INSERT did: how many signals are new, and between which positions they and no others are."""

    new: int = 0
    first: int = 0
    last: int = 0


def record(entries: Sequence[Entry], transport: str, seen_at: datetime | None = None) -> list[Result]:
    """Judge the entries and record them; return their results in the same order.

    `seen_at` is when their agents sent them, where that is not now. Raises Outage when the database cannot
    take them now: then none is settled, and all may be sent again. The number of queries does not grow with
    that of the entries.
    """
    return write(Batch(validate(entries)), transport, seen_at)


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
    """What was validated, as `write` takes it.

    All that Postgres gets of it is made here: a thread may do so while another one writes, and no transaction
    is open meanwhile.
    """

    def __init__(self, validated: Sequence[Validated]) -> None:
        self.validated = validated
        self.signals: list[staging.Numbered] = [
            (number, signal, digest)
            for number, (_, signal, digest) in enumerate(validated)
            if isinstance(signal, Signal)
        ]
        self.too_large = (
            len(validated) > 1 and sum(len(entry.raw) for entry, _, _ in validated) > MAX_TRANSACTION_BYTES
        )
        self.staged = staging.prepare([] if self.too_large else self.signals)
        self.nameless = rollups.nameless(signal for _, signal, _ in self.signals)

    def halves(self) -> tuple["Batch", "Batch"]:
        middle = len(self.validated) // 2
        return Batch(self.validated[:middle]), Batch(self.validated[middle:])


def write(batch: Batch, transport: str, seen_at: datetime | None = None) -> list[Result]:
    """Record what was validated; see `record`."""
    if not batch.validated:
        return []
    if batch.too_large:
        return _write_halves(batch, transport, seen_at)
    try:
        with classified():
            results = _write(batch, transport, seen_at)
    except (DataFault, Contended) as fault:
        if len(batch.validated) > 1:
            return _write_halves(batch, transport, seen_at)
        [(entry, signal, _)] = batch.validated
        if isinstance(signal, Refusal):
            raise  # a dead letter takes any bytes: this is a bug
        if isinstance(fault, Contended):
            return [_deferred(signal)]
        refusal = Refusal("database_refused", str(fault)).about(signal)
        return write(Batch([(entry, refusal, b"")]), transport, seen_at)
    batch_log.log_batch(results, transport)
    return results


def _write_halves(batch: Batch, transport: str, seen_at: datetime | None) -> list[Result]:
    first, second = batch.halves()
    return write(first, transport, seen_at) + write(second, transport, seen_at)


def _write(batch: Batch, transport: str, seen_at: datetime | None) -> list[Result]:
    validated, signals = batch.validated, batch.signals
    inserted = _insert(batch, transport, seen_at) if signals else _Inserted()
    if inserted.new == len(validated):
        return [Result(Fate.ACCEPTED, signal) for _, signal, _ in signals]
    with transaction.atomic(), connection.cursor() as cursor:
        found = _found(cursor, signals, inserted) if signals else {}
        results = [_result(signal, found.get(number)) for number, (_, signal, _) in enumerate(validated)]
        again = [
            (row_id, validated[number][0].sender)
            for number, (fate, row_id) in found.items()
            if fate is Fate.DUPLICATE
        ]
        if again:
            cursor.execute(SIGHTINGS, [transport, *map(list, zip(*again, strict=True))])
        bury(cursor, [entry for entry, _, _ in validated], results, transport)
        count_rest(cursor, results, transport, seen_at)
    return results


def _insert(batch: Batch, transport: str, seen_at: datetime | None) -> _Inserted:
    """Record and count the signals that are new, in a transaction that is over when this returns."""
    staged, nameless = batch.staged, batch.nameless
    statement = INSERT.format(
        staged=staged.relation, count_nameless=rollups.COUNT_NAMELESS if nameless else ""
    )
    parameters = [transport, *staged.parameters, seen_at, *([nameless] if nameless else [])]
    # To Postgres, the statements of one message are a transaction by themselves.
    alone = not staged.copied and not connection.in_atomic_block
    try:
        with nullcontext() if alone else transaction.atomic(), connection.cursor() as cursor:
            if staged.copied:
                staging.send(cursor, staged)
            cursor.execute(statement, parameters)
            return _Inserted(*_last_answer(cursor))
    except OperationalError as error:
        if sqlstate(error) == LOCK_NOT_AVAILABLE:
            raise Contended from error
        raise


def _last_answer(cursor: Any) -> tuple[int, int, int]:
    while cursor.nextset():
        pass
    row: tuple[int, int, int] = cursor.fetchone()
    return row


def _found(
    cursor: Any, signals: Sequence[staging.Numbered], inserted: _Inserted
) -> dict[int, tuple[Fate, int]]:
    """Return each signal's fate and row by its number; of one whose row has just gone, nothing."""
    identities = [
        {"ord": number, "ecosystem": signal.ecosystem, "signal_id": signal.signal_id}
        for number, signal, _ in signals
    ]
    digests = {number: digest for number, _, digest in signals}
    found: dict[int, tuple[Fate, int]] = {}
    ours: set[int] = set()
    cursor.execute(FOUND, [inserted.first, inserted.last, rollups.as_json(identities)])
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


def _result(signal: Signal | Refusal, found: tuple[Fate, int] | None) -> Result:
    if isinstance(signal, Refusal):
        return Result(Fate.REFUSED, refusal=signal)
    if found is None:
        return _deferred(signal)  # an agent's row was in its way, and was removed since
    fate, _ = found
    return Result(fate, signal, CONFLICT.about(signal) if fate is Fate.CONFLICT else None)


def _deferred(signal: Signal) -> Result:
    return Result(Fate.DEFERRED, signal, DEFERRED.about(signal))


def bury(cursor: Any, entries: Sequence[Entry], results: Sequence[Result], transport: str) -> None:
    """Keep what became no signal."""
    dead = [
        (entry, result.refusal)
        for entry, result in zip(entries, results, strict=True)
        if result.refusal is not None and result.is_final
    ]
    dead_letters.write_dead_letters(cursor, dead, transport)


def count_rest(
    cursor: Any, results: Sequence[Result], transport: str, seen_at: datetime | None = None
) -> None:
    """Count what was not recorded. Under the lock, or it would wait for, and hold up, those who record."""
    cursor.execute(ENTER)
    rollups.count_rest(cursor, results, transport, seen_at)
