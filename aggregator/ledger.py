"""The ledger: the only writer of `trading_signals`.

Positions grow in commit order because they are drawn, and committed, under one lock: a reader that has seen
position p never later finds a new row at or below p. The lock ends with its transaction, which a transaction
pooler does not break, and is held from the INSERT to the commit only. It is that of a table, since an
advisory lock could be taken, and kept, by any role that can connect.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import OperationalError, connection, connections, transaction

from aggregator import arrivals, batch_log, dead_letters
from aggregator.faults import LOCK_NOT_AVAILABLE, DataFault, classified, sqlstate
from aggregator.staging import COLUMNS, IN_ORDER, TABLE, stage
from aggregator.verdicts import CONFLICT, DEFERRED, FORBIDDEN, Entry, Fate, Verdict
from ecosystems.signal import Refusal, Signal, parse
from ecosystems.symbols import instrument

# A row whose identity an open transaction of an agent holds would make the INSERT, and with it every other
# door, wait for that transaction.
LOCK_TIMEOUT = "100ms"

ENTER = f"""
    LOCK TABLE ledger_lock IN EXCLUSIVE MODE;
    SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';
    SELECT nextval('trading_signals_position_seq')"""

INSERT = f"""
    INSERT INTO trading_signals ({COLUMNS}, transport, position)
    SELECT {COLUMNS}, %s, nextval('trading_signals_position_seq')
    FROM {IN_ORDER} AS staged
    ON CONFLICT (ecosystem, signal_id) DO NOTHING"""

# One text of a row for `parse`, so that an inserted row is judged by the same function as bytes from outside.
AS_JSON = """jsonb_build_object(
    'signal_id', signal_id, 'ecosystem', ecosystem, 'timestamp', "timestamp", 'symbol', symbol,
    'action', action, 'signal_type', signal_type, 'entry_price', entry_price, 'stop_loss', stop_loss,
    'take_profit', take_profit, 'volume', volume, 'confidence', confidence,
    'agent_source', agent_source, 'tags', tags, 'raw_payload', raw_payload)::text"""

FOUND = f"""
    SELECT staged.ord, ledger.id, ledger.digest, coalesce(ledger.position > %s, false),
        CASE WHEN ledger.digest IS NULL THEN ledger.as_json END
    FROM (SELECT ord, ecosystem, signal_id FROM {TABLE}) AS staged
    JOIN (SELECT id, ecosystem, signal_id, digest, position, {AS_JSON} AS as_json FROM trading_signals)
        AS ledger USING (ecosystem, signal_id)
    ORDER BY staged.ord"""

SIGHTINGS = """
    INSERT INTO sightings (signal_id, transport, sender, seen_at)
    SELECT signal_id, %s, sender, now() FROM unnest(%s::bigint[], %s::text[]) AS again (signal_id, sender)"""

Judged = tuple[Entry, Signal | Refusal, bytes]
"""An entry, what `parse` says of it, and the digest of its signal (b"" for a refusal)."""


class Contended(Exception):
    """An open transaction of an agent holds the identity of a signal in this batch."""


def record(entries: Sequence[Entry], transport: str) -> list[Verdict]:
    """Judge the entries and record them in one transaction; return their verdicts in the same order.

    Raises Outage when the database cannot take them now; then nothing is recorded. The number of queries
    does not depend on that of the entries.
    """
    return write(judge(entries), transport)


def judge(entries: Sequence[Entry]) -> list[Judged]:
    """Parse the entries, each by itself. Touches no database."""
    now = datetime.now(UTC)
    return [_judge(entry, now) for entry in entries]


def _judge(entry: Entry, now: datetime) -> Judged:
    signal = entry.refusal or parse(entry.raw, now)
    if isinstance(signal, Refusal):
        return entry, signal, b""
    if entry.ecosystems is not None and signal.ecosystem not in entry.ecosystems:
        return entry, FORBIDDEN.about(signal), b""
    return entry, signal, signal.digest()


def write(judged: Sequence[Judged], transport: str) -> list[Verdict]:
    """Record what was judged; see `record`."""
    if not judged:
        return []
    try:
        with classified():
            verdicts = _write(judged, transport)
    except (DataFault, Contended) as fault:
        if len(judged) > 1:
            middle = len(judged) // 2
            return write(judged[:middle], transport) + write(judged[middle:], transport)
        entry, signal, _ = judged[0]
        if isinstance(signal, Refusal):
            raise  # a dead letter takes any bytes: this is a bug
        if isinstance(fault, Contended):
            return [Verdict(Fate.DEFERRED, signal, DEFERRED.about(signal))]
        refusal = Refusal("database_refused", str(fault)).about(signal)
        return write([(entry, refusal, b"")], transport)
    batch_log.recorded(verdicts, transport)
    return verdicts


def _write(judged: Sequence[Judged], transport: str) -> list[Verdict]:
    signals = [
        (number, signal, digest)
        for number, (_, signal, digest) in enumerate(judged)
        if isinstance(signal, Signal)
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        if signals:
            stage(cursor, signals)
        floor = _enter(cursor)
        found = _insert(cursor, signals, transport, floor) if signals else {}
        verdicts = [_verdict(signal, found.get(number)) for number, (_, signal, _) in enumerate(judged)]
        again = [
            (row_id, judged[number][0].sender)
            for number, (fate, row_id) in found.items()
            if fate is Fate.DUPLICATE
        ]
        if again:
            cursor.execute(SIGHTINGS, [transport, *map(list, zip(*again, strict=True))])
        _keep_account(cursor, [entry for entry, _, _ in judged], verdicts, transport)
    return verdicts


def _enter(cursor: Any) -> int:
    """Take the ledger's lock; return a position below all that this transaction will draw."""
    cursor.execute(ENTER)
    while cursor.nextset():
        pass
    position: int = cursor.fetchone()[0]
    return position


def _insert(
    cursor: Any, signals: list[tuple[int, Signal, bytes]], transport: str, floor: int
) -> dict[int, tuple[Fate, int]]:
    """Insert what is staged; return the fate and the ledger's row of each signal that was there before."""
    try:
        cursor.execute(INSERT, [transport])
    except OperationalError as error:
        if sqlstate(error) == LOCK_NOT_AVAILABLE:
            raise Contended from error
        raise
    if cursor.rowcount == len(signals):
        return {}
    digests = {number: digest for number, _, digest in signals}
    found: dict[int, tuple[Fate, int]] = {}
    ours: set[int] = set()
    cursor.execute(FOUND, [floor])
    for number, row_id, digest, is_ours, as_json in cursor.fetchall():
        if is_ours and row_id not in ours:
            ours.add(row_id)  # the first of this identity in the batch is the one that was inserted
            continue
        known = bytes(digest) if digest else _digest_of(as_json)
        found[number] = (Fate.DUPLICATE if known == digests[number] else Fate.CONFLICT, row_id)
    return found


def _digest_of(as_json: str) -> bytes:
    """Return the digest of a row that an agent inserted and that is not recorded yet."""
    signal = parse(as_json.encode())
    return signal.digest() if isinstance(signal, Signal) else b""


def _verdict(signal: Signal | Refusal, found: tuple[Fate, int] | None) -> Verdict:
    if isinstance(signal, Refusal):
        return Verdict(Fate.REFUSED, refusal=signal)
    fate = found[0] if found else Fate.ACCEPTED
    return Verdict(fate, signal, CONFLICT.about(signal) if fate is Fate.CONFLICT else None)


def _keep_account(cursor: Any, entries: list[Entry], verdicts: list[Verdict], transport: str) -> None:
    dead = [
        (entry, verdict.refusal)
        for entry, verdict in zip(entries, verdicts, strict=True)
        if verdict.refusal is not None
    ]
    dead_letters.keep(cursor, dead, transport)
    arrivals.roll_up(cursor, verdicts, transport)


CLAIM = f"""
    SELECT id, {AS_JSON} FROM trading_signals
    WHERE position IS NULL AND digest IS NULL ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"""

ADOPT = f"""
    WITH numbered AS MATERIALIZED (
        SELECT ord, action, instrument, digest, nextval('trading_signals_position_seq') AS position
        FROM {IN_ORDER} AS staged)
    UPDATE trading_signals AS ledger SET action = numbered.action, instrument = numbered.instrument,
        digest = numbered.digest, position = numbered.position
    FROM numbered WHERE ledger.id = numbered.ord"""

REMOVE = "DELETE FROM trading_signals WHERE id = ANY (%s)"


def adopt(limit: int) -> list[Verdict]:
    """Record up to `limit` rows that agents inserted into this database; return their verdicts.

    Rows of transactions that are still open are not seen, and hold up nobody. A row that breaks a rule which
    no CHECK can express moves to the dead letters. Raises Outage.
    """
    with classified(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CLAIM, [limit])
        rows = cursor.fetchall()
        judged = judge([_row_entry("default", *row) for row in rows])
        signals = [
            (row_id, signal, digest)
            for (row_id, _), (_, signal, digest) in zip(rows, judged, strict=True)
            if isinstance(signal, Signal)
        ]
        if signals:
            stage(cursor, signals)
            _enter(cursor)
            cursor.execute(ADOPT)
        verdicts = [_verdict(signal, None) for _, signal, _ in judged]
        _bury(cursor, rows, verdicts)
        _keep_account(cursor, [entry for entry, _, _ in judged], verdicts, "database")
    batch_log.recorded(verdicts, "database")
    return verdicts


MARK = """
    UPDATE trading_signals AS source
    SET digest = recorded.digest, instrument = recorded.instrument, position = recorded.position
    FROM unnest(%s::bigint[], %s::bytea[], %s::text[], %s::bigint[])
        AS recorded (id, digest, instrument, position)
    WHERE source.id = recorded.id"""

POSITIONS = """
    SELECT wanted.ord, ledger.position
    FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (ecosystem, signal_id, ord)
    JOIN trading_signals AS ledger USING (ecosystem, signal_id)"""


def adopt_from(alias: str, limit: int) -> list[Verdict]:
    """Record up to `limit` rows of an ecosystem's own database; return their verdicts.

    The rows are marked there after the ledger has committed. Between the two a crash leaves them to be read
    again, as duplicates. Raises Outage for either database.
    """
    with classified(), transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(CLAIM, [limit])
        rows = cursor.fetchall()
        verdicts = record([_row_entry(alias, *row) for row in rows], "database")
        kept = [
            (row_id, verdict.signal)
            for (row_id, _), verdict in zip(rows, verdicts, strict=True)
            if verdict.signal and verdict.fate in {Fate.ACCEPTED, Fate.DUPLICATE}
        ]
        if kept:
            cursor.execute(MARK, _marks(kept))
        _bury(cursor, rows, verdicts)
    return verdicts


def _row_entry(alias: str, row_id: int, as_json: str) -> Entry:
    return Entry(as_json.encode(), sender=f"database:{alias}", entry_id=str(row_id))


def _bury(cursor: Any, rows: list[tuple[int, str]], verdicts: list[Verdict]) -> None:
    """Delete the rows that are dead letters now, so that their ids are free for a corrected signal."""
    dead = [
        row_id
        for (row_id, _), verdict in zip(rows, verdicts, strict=True)
        if verdict.fate in {Fate.REFUSED, Fate.CONFLICT}
    ]
    if dead:
        cursor.execute(REMOVE, [dead])


def _marks(kept: list[tuple[int, Signal]]) -> list[list[Any]]:
    """Return the columns of MARK: what the core database gave to these signals."""
    signals = [signal for _, signal in kept]
    with connection.cursor() as cursor:
        cursor.execute(POSITIONS, [[s.ecosystem for s in signals], [s.signal_id for s in signals]])
        positions = dict(cursor.fetchall())
    return [
        [row_id for row_id, _ in kept],
        [signal.digest() for signal in signals],
        [instrument(signal.ecosystem, signal.symbol) for signal in signals],
        [positions.get(number) for number in range(1, len(kept) + 1)],
    ]
