"""How each worker's loops fare, kept in the database for the health check."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from aggregator.ledger.errors import classified

WRITE_STATES = """
    INSERT INTO worker_loops (worker, loop, seen_at, ok_at, crashes, problem)
    SELECT %(worker)s, loop, now(), now() - make_interval(secs => ok_age_s), crashes, problem
    FROM unnest(%(loops)s::text[], %(ages)s::float8[], %(crashes)s::int[], %(problems)s::text[])
        AS state (loop, ok_age_s, crashes, problem)
    ON CONFLICT (worker, loop) DO UPDATE SET seen_at = excluded.seen_at, ok_at = excluded.ok_at,
        crashes = excluded.crashes, problem = excluded.problem"""

READ_STATES = """
    SELECT worker, extract(epoch FROM now() - seen_at)::float8,
        loop, extract(epoch FROM now() - ok_at)::float8, crashes, problem
    FROM worker_loops WHERE loop = ANY (%(loops)s) ORDER BY loop, seen_at DESC"""

# The newest state of each loop stays: that no worker hosts it any more must not look well after a day.
FORGET = """
    DELETE FROM worker_loops AS old WHERE seen_at < now() - interval '1 day' AND EXISTS (
        SELECT FROM worker_loops AS newer WHERE newer.loop = old.loop AND newer.seen_at > old.seen_at)"""


@dataclass(frozen=True)
class LoopState:
    """How a loop fares."""

    loop: str
    ok_age_s: float
    """How long ago it last did a batch, or found nothing to do."""
    crashes: int = 0
    problem: str = ""
    """The last outage or crash in a few words, without values; empty when that is over."""


@dataclass(frozen=True)
class SeenState:
    """A loop's state as its worker wrote it."""

    worker: str
    age_s: float
    state: LoopState


def write_states(worker: str, states: Sequence[LoopState]) -> None:
    """Write how a worker's loops fare, as of now. Raises Outage."""
    values: dict[str, Any] = {
        "worker": worker,
        "loops": [state.loop for state in states],
        "ages": [state.ok_age_s for state in states],
        "crashes": [state.crashes for state in states],
        "problems": [state.problem for state in states],
    }
    with classified(), connection.cursor() as cursor:
        cursor.execute(WRITE_STATES, values)


def read_states(loops: Sequence[str]) -> list[SeenState]:
    """Return the states of these loops on all workers, those of one loop together, the newest first."""
    with connection.cursor() as cursor:
        cursor.execute(READ_STATES, {"loops": list(loops)})
        return [SeenState(worker, age_s, LoopState(*state)) for worker, age_s, *state in cursor.fetchall()]


def delete_old_states() -> int:
    """Delete the states of workers that ended a day ago; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(FORGET)
        return int(cursor.rowcount)
