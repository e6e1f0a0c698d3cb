"""How a batch travels to Postgres, and the calls that record it; each is a transaction that is over then.

A few signals go as one JSON text in the very call that records them: no round trip, no catalogue, no
privilege of their own. Many go into a temporary table first, by COPY: three round trips, and a third of the
work a signal. `benchmarks/README.md` has the figures, and the ways that were slower.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.db import Error, IntegrityError, OperationalError, connection, transaction

from aggregator.ledger import positions, sql
from aggregator.ledger.entries import Entry
from aggregator.ledger.errors import LOCK_NOT_AVAILABLE, OWN_CONSTRAINTS, Contended, constraint, sqlstate
from ecosystems.market.symbols import instrument
from ecosystems.signal import Refusal, Signal

MAX_INLINE = 640
"""Up to so many signals travel in the statement itself; COPY pays for itself beyond."""
MAX_TRANSACTION_BYTES = 32 * 1024 * 1024
"""Of entries in one transaction: their text is in the memory of both sides, several times over."""
MAX_SINGLY = 64
"""Signals recorded one by one in one transaction. Each is a subtransaction, and with more of them than this
every other transaction would have to look them up on disk."""
HELD = ""
"""The problem of a signal whose identity an open transaction holds."""
FIRST_WAIT, NEXT_WAIT = "100ms", "1ms"
"""How long to wait for such a transaction: long enough for an INSERT to commit, then only to find out."""

Validated = tuple[Entry, Signal | Refusal, bytes]
"""An entry, what `parse` returned for it, and the digest of its signal (b"" for a refusal)."""
Numbered = tuple[int, Signal, bytes, str]
"""A number to order by, a signal, its digest and its sender."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Batch:
    """Validated entries, prepared for `ledger.write`.

    All that Postgres gets of them is made here: a thread may do so while another one writes, and no
    transaction is open all the while.
    """

    def __init__(self, validated: Sequence[Validated]) -> None:
        self.validated = validated
        self.signals: list[Numbered] = [
            (number, signal, digest, entry.sender)
            for number, (entry, signal, digest) in enumerate(validated, 1)
            if isinstance(signal, Signal)
        ]
        # What Postgres gets of a few is small, whatever space stands in their bytes.
        are_many = len(validated) > MAX_SINGLY
        self.too_large = are_many and sum(len(entry.raw) for entry, _, _ in validated) > MAX_TRANSACTION_BYTES
        self.inline = ""
        """The signals as JSON; empty if they are copied, if there are none, or if they are too large."""
        self.copied = b""
        """The signals as COPY takes them; empty if they are inline."""
        if not self.too_large and len(self.signals) > MAX_INLINE:
            self.copied = b"\n".join([_line(*each) for each in self.signals])
        elif not self.too_large and self.signals:
            self.inline = as_json(self.signals)

    @property
    def entries(self) -> list[Entry]:
        return [entry for entry, _, _ in self.validated]


def as_json(signals: Sequence[Numbered]) -> str:
    return _encode([_row(*each) for each in signals]).decode()


def _row(order: int, signal: Signal, digest: bytes, sender: str) -> dict[str, Any]:
    row = msgspec.structs.asdict(signal)
    row["ord"] = order
    row["sender"] = sender
    row["instrument"] = instrument(signal.ecosystem, signal.symbol)
    row["digest"] = "\\x" + digest.hex()
    return row


def _line(order: int, signal: Signal, digest: bytes, sender: str) -> bytes:
    """Return a row for COPY_STAGED: a JSON array less its brackets."""
    *values, _, _, refers_to = msgspec.structs.astuple(signal)
    row = (
        order,
        *values,
        signal.tags_json().decode() if signal.tags else "[]",
        signal.payload_json().decode(),
        refers_to,
        sender,
        instrument(signal.ecosystem, signal.symbol),
        f"\\x{digest.hex()}",
    )
    return _encode(row)[1:-1]


class NewSignals(NamedTuple):
    """What was recorded of the signals of a batch: a new one has the position `base` + its number."""

    new: int = 0
    base: int = 0
    problems: dict[int, str] = {}
    """By number, why a signal was not recorded: HELD, or how Postgres refuses it."""


def record_whole(batch: Batch, transport: str, first_received_at: datetime | None) -> NewSignals:
    """Record the signals that are new, all or none. Raises Contended."""
    if not batch.inline and not batch.copied:
        return NewSignals()
    parameters = _parameters(batch, transport, first_received_at)

    def call() -> NewSignals:
        if batch.copied:
            return _record_copied(batch.copied, parameters)
        return NewSignals(*_fetch(sql.RECORD, parameters))

    try:
        return _with_true_sequences(call)
    except OperationalError as error:
        if sqlstate(error) == LOCK_NOT_AVAILABLE:
            raise Contended from error
        raise


def record_singly(
    batch: Batch, transport: str, first_received_at: datetime | None, *, is_contended: bool
) -> NewSignals:
    """Record the signals that are new, each by itself."""
    if not batch.inline:
        return NewSignals()
    wait = NEXT_WAIT if is_contended else FIRST_WAIT
    parameters = _parameters(batch, transport, first_received_at) | {"lock_timeout": wait}

    def call() -> NewSignals:
        new, base, problems = _fetch(sql.RECORD_SINGLY, parameters)
        return NewSignals(new, base, msgspec.json.decode(problems, type=dict[int, str]))

    return _with_true_sequences(call)


def _parameters(batch: Batch, transport: str, first_received_at: datetime | None) -> dict[str, Any]:
    return {
        "signals": batch.inline,
        "size": len(batch.validated),
        "transport": transport,
        "first_received_at": first_received_at,
    }


def _fetch(statement: str, parameters: dict[str, Any]) -> Any:
    """Return the row of a call; an error leaves a caller's transaction usable, a lone call needs none."""
    with transaction.atomic() if connection.in_atomic_block else nullcontext(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()


def _record_copied(copied: bytes, parameters: dict[str, Any]) -> NewSignals:
    """Copy signals to the server and record them, and commit in the same message that takes the lock."""
    is_alone = not connection.in_atomic_block
    begin, end = ("BEGIN;", "; COMMIT") if is_alone else ("", "")
    with _rolled_back() if is_alone else transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(begin + sql.CREATE_STAGED)
        with cursor.copy(sql.COPY_STAGED) as stream:
            stream.write(copied)
        cursor.execute(sql.RECORD_STAGED + end, parameters)
        return NewSignals(*cursor.fetchone())


@contextmanager
def _rolled_back() -> Iterator[None]:
    """Roll back after an error."""
    try:
        yield
    except BaseException:
        with suppress(Error):
            connection.rollback()
        raise


def _with_true_sequences(call: Callable[[], NewSignals]) -> NewSignals:
    """Call, and once more where a sequence had fallen behind."""
    try:
        return call()
    except IntegrityError as error:
        if constraint(error) not in OWN_CONSTRAINTS:
            raise
        positions.repair_sequences()
        return call()
