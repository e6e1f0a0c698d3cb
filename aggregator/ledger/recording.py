"""The calls that record new signals: each is a transaction that is over when it returns."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.db import Error, IntegrityError, OperationalError, connection, transaction

from aggregator.ledger import positions, sql
from aggregator.ledger.errors import LOCK_NOT_AVAILABLE, OWN_CONSTRAINTS, Contended, constraint, sqlstate
from aggregator.ledger.staging import Batch

HELD = ""
"""The problem of a signal whose identity an open transaction holds."""
FIRST_WAIT, NEXT_WAIT = "100ms", "1ms"
"""How long to wait for such a transaction: long enough for an INSERT to commit, then only to find out."""


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
