"""How each worker's loops fare, kept in the database for the health check."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from django.db import connection
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from aggregator.ledger.errors import classified
from aggregator.models import WorkerLoop

READ_STATES = """
    SELECT worker, loop, extract(epoch FROM now() - ok_at)::float8, crashes, problem,
        extract(epoch FROM now() - seen_at)::float8
    FROM worker_loops WHERE loop = ANY (%(loops)s) ORDER BY loop, seen_at DESC"""


class LoopState(NamedTuple):
    """How a loop fares on a worker."""

    worker: str
    loop: str
    ok_age_s: float
    """How long ago it last did a batch, or found nothing to do."""
    crashes: int = 0
    problem: str = ""
    """The last outage or crash in a few words, without values; empty when that is over."""
    age_s: float = 0.0
    """How long ago the worker wrote this."""


def write_states(states: Sequence[LoopState]) -> None:
    """Write how a worker's loops fare, as of now. Raises Outage."""
    rows = [
        WorkerLoop(
            worker=state.worker,
            loop=state.loop,
            seen_at=Now(),
            ok_at=Now() - timedelta(seconds=state.ok_age_s),
            crashes=state.crashes,
            problem=state.problem,
        )
        for state in states
    ]
    with classified():
        WorkerLoop.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["worker", "loop"],
            update_fields=["seen_at", "ok_at", "crashes", "problem"],
        )


def read_states(loops: Sequence[str]) -> list[LoopState]:
    """Return the states of these loops on all workers, those of one loop together, the newest first."""
    with connection.cursor() as cursor:
        cursor.execute(READ_STATES, {"loops": list(loops)})
        return [LoopState(*row) for row in cursor.fetchall()]


def delete_old_states() -> int:
    """Delete the states of workers that ended a day ago; return how many.

    The newest state of each loop stays: that no worker hosts it any more must not look well after a day.
    """
    newer = WorkerLoop.objects.filter(loop=OuterRef("loop"), seen_at__gt=OuterRef("seen_at"))
    return WorkerLoop.objects.filter(Exists(newer), seen_at__lt=Now() - timedelta(days=1)).delete()[0]
