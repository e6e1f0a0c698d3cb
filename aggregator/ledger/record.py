"""Recording signals. Beside it only `inserted_rows` writes `trading_signals`, for what agents insert.

Positions grow in commit order because they are drawn, and committed, under one lock: a reader that has seen
position p never later finds a new row at or below p. The lock ends with its transaction, which a transaction
pooler does not break, and is held from the INSERT to the commit only. It is that of a table, since an
advisory lock could be taken, and kept, by any role that can connect.

What is new is recorded by one call of a function in Postgres (`functions`). What turns out not to be new is
handled in a second transaction, without the lock. An entry is final after both: one that was cut off in
between comes again, as a duplicate. Followers count what is recorded.

A batch that cannot be recorded as a whole is recorded signal by signal, in short transactions. That is so
where Postgres refuses what a signal holds, and where an open transaction of an agent holds an identity: a
write waits for such transactions no longer than its budget, and defers what is left.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

import structlog
from django.db import connection, transaction

from aggregator.ledger import duplicates, recording
from aggregator.ledger.dead_letters import write_dead_letters
from aggregator.ledger.entries import (
    AGENT_FORBIDDEN,
    CONFLICT,
    DEFERRED,
    ECOSYSTEM_FORBIDDEN,
    Entry,
    Fate,
    Result,
)
from aggregator.ledger.errors import Contended, DataFault, classified
from aggregator.ledger.recording import MAX_SINGLY, Batch, NewSignals, Validated
from aggregator.ledger.unrecorded import count_unrecorded
from ecosystems.signal import Refusal, Signal, parse

CONTENTION_BUDGET_S = 0.5
"""How long a write goes on while open transactions of agents hold its signals."""

MAX_LOGGED_IDS = 5
"""Ids in the log event of a batch, which has up to thousands. The ledger has the rest, by time."""

logger = structlog.get_logger("signal_hub.ledger")


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
    signal = entry.refusal or parse(entry.mapped or entry.raw, now)
    if isinstance(signal, Refusal):
        return entry, signal, b""
    if entry.ecosystems is not None and signal.ecosystem not in entry.ecosystems:
        return entry, ECOSYSTEM_FORBIDDEN.about(signal), b""
    if entry.agents is not None and signal.agent_source not in entry.agents:
        return entry, AGENT_FORBIDDEN.about(signal), b""
    return entry, signal, signal.digest()


def write(batch: Batch, transport: str, first_received_at: datetime | None = None) -> list[Result]:
    """Record a batch; see `record`."""
    try:
        results = _write_whole(batch, transport, first_received_at)
    except (Contended, DataFault) as fault:
        return _write_singly(batch.validated, transport, first_received_at, _Budget(fault))
    log_batch(results, transport)
    return results


def write_together(
    requests: Sequence[Sequence[Validated]], transport: str
) -> Iterator[dict[int, list[Result]]]:
    """Record the entries of several requests in one transaction; yield the results of each by its index.

    Where that fails, each request is recorded by itself, short ones first, and its results are yielded at
    once: what holds up one request's signals does not hold up the others. Raises Outage; then no result is
    final that was not yielded.
    """
    try:
        batch = Batch([validated for request in requests for validated in request])
        results = _write_whole(batch, transport, None)
    except (Contended, DataFault) as fault:
        budget = _Budget(fault)
        for index in sorted(range(len(requests)), key=lambda index: len(requests[index])):
            yield {index: _write_singly(requests[index], transport, None, budget)}
        return
    rest = iter(results)
    yield {index: list(islice(rest, len(request))) for index, request in enumerate(requests)}
    # After the answers: formatting an event takes 0.1 ms, a tenth of a lone request's time.
    log_batch(results, transport)


class _Budget:
    """How long one write may still wait for open transactions of agents."""

    def __init__(self, fault: Exception) -> None:
        self.left_s = CONTENTION_BUDGET_S
        self.is_contended = isinstance(fault, Contended)

    def charge(self, seconds: float) -> None:
        self.is_contended = True
        self.left_s -= seconds


def _write_whole(batch: Batch, transport: str, first_received_at: datetime | None) -> list[Result]:
    """Record a batch in one transaction. Raises Contended or DataFault, and then nothing is recorded."""
    if not batch.validated:
        return []
    if batch.too_large:
        raise DataFault("more than one transaction takes")
    with classified():
        recorded = recording.record_whole(batch, transport, first_received_at)
    return finish(batch, recorded, transport, first_received_at)


def _write_singly(
    validated: Sequence[Validated], transport: str, first_received_at: datetime | None, budget: _Budget
) -> list[Result]:
    """Record entries one by one, and defer those that are left when the budget is used up."""
    results: list[Result] = []
    for start in range(0, len(validated), MAX_SINGLY):
        if budget.left_s <= 0:
            results += [_deferred(signal) for _, signal, _ in validated[start:]]
            break
        batch = Batch(validated[start : start + MAX_SINGLY])
        began = time.monotonic()
        with classified():
            recorded = recording.record_singly(
                batch, transport, first_received_at, is_contended=budget.is_contended
            )
        results += finish(batch, recorded, transport, first_received_at)
        if recording.HELD in recorded.problems.values():
            budget.charge(time.monotonic() - began)
    log_batch(results, transport)
    return results


def finish(
    batch: Batch, recorded: NewSignals, transport: str, first_received_at: datetime | None = None
) -> list[Result]:
    """Return the results of a batch whose new signals are recorded; keep what became of the others."""
    if recorded.new == len(batch.validated):
        return [Result(Fate.ACCEPTED, signal) for _, signal, _, _ in batch.signals]
    entries = batch.entries
    with classified(), transaction.atomic(), connection.cursor() as cursor:
        base = recorded.base if recorded.new else None
        found = duplicates.find(cursor, batch.signals, base) if batch.signals else {}
        results = [
            _result(signal, found.get(number), recorded.problems.get(number))
            for number, (_, signal, _) in enumerate(batch.validated, 1)
        ]
        duplicates.add_sightings(cursor, entries, found, transport)
        is_replay = first_received_at is not None
        write_dead_letters(cursor, entries, results, transport, is_replay=is_replay)
        # Replayed entries were counted when they came in: else an operator's replaying would raise the alert
        # of an agent that is refused too often.
        if not is_replay:
            count_unrecorded(cursor, entries, results, transport)
    return results


def _result(signal: Signal | Refusal, found: tuple[Fate, int] | None, problem: str | None) -> Result:
    if isinstance(signal, Refusal):
        return Result(Fate.REFUSED, refusal=signal)
    if problem:
        return Result(Fate.REFUSED, refusal=Refusal("database_refused", problem).about(signal))
    if found is None:
        return _deferred(signal)  # held, or an agent's row was in its way and has been removed since
    fate, _ = found
    return Result(fate, signal, CONFLICT.about(signal) if fate is Fate.CONFLICT else None)


def _deferred(signal: Signal | Refusal) -> Result:
    if isinstance(signal, Refusal):
        return Result(Fate.DEFERRED, refusal=DEFERRED)
    return Result(Fate.DEFERRED, signal, DEFERRED.about(signal))


def log_batch(results: Sequence[Result], transport: str) -> None:
    """Log a batch that is committed: how many entries met which fate, and the first ids. Never a body."""
    if not results:
        return
    counts = Counter(result.fate for result in results)
    subjects = [subject for each in results[:MAX_LOGGED_IDS] if (subject := each.signal or each.refusal)]
    logger.info(
        "batch recorded",
        transport=transport,
        entries=len(results),
        **{fate.value: counts[fate] for fate in Fate if counts[fate]},
        ids=",".join(f"{each.ecosystem}/{each.signal_id}" for each in subjects if each.signal_id),
    )
