"""Checks that every loop that was ever hosted still is, and fares well."""

from collections.abc import Sequence
from itertools import groupby

from aggregator import worker_states
from aggregator.health.checks import Degraded, Failed
from aggregator.health.database_checks import DatabaseDependentCheck
from aggregator.ledger.inserted_rows import longest_wait_s
from aggregator.worker_states import LoopState

ALIVE_S = 45.0
"""A loop that no worker has reported for longer is silent. Workers report it every ten seconds."""
STALLED_S = 120.0
"""A loop that did no batch for longer hangs, or waits for an outage to end."""
MAX_WAIT_S = 60.0
"""Rows that agents insert are recorded within a second."""
START = "start manage.py run_worker, or a Celery worker"


class WorkerCheck(DatabaseDependentCheck):
    """Fails when a loop is hosted no more, degrades when one crashes or stalls.

    A loop is expected once a worker has hosted it: a hub may run some loops only, or none yet. The one that
    records inserted rows is expected as soon as one waits for it.
    """

    def __init__(self, loops: Sequence[str]) -> None:
        super().__init__("workers")
        self.loops = loops

    def run(self) -> tuple[str, str]:
        seen = worker_states.read_states(self.loops)
        if all(each.loop != "databases" for each in seen) and longest_wait_s() > MAX_WAIT_S:
            raise Failed("none records inserted rows", START)
        if not seen:
            return "none seen", START
        by_loop = [list(states) for _, states in groupby(seen, lambda each: each.loop)]
        if silent := [states[0] for states in by_loop if states[0].age_s > ALIVE_S]:
            raise Failed("silent", "; ".join(map(_silent, silent)))
        alive = [each for each in seen if each.age_s <= ALIVE_S]
        if crashed := [each for each in alive if each.crashes]:
            raise Degraded("crashing", "; ".join(map(_crashed, crashed)))
        if stalled := [each for each in alive if each.ok_age_s > STALLED_S]:
            raise Degraded("stalled", "; ".join(map(_stalled, stalled)))
        return "", ", ".join(sorted({f"{each.loop} on {each.worker}" for each in alive}))


def _silent(state: LoopState) -> str:
    return (
        f"{state.loop} last seen {state.age_s:.0f} s ago on {state.worker}"
        f"; if no longer used, DELETE FROM worker_loops WHERE loop = '{state.loop}'"
    )


def _crashed(state: LoopState) -> str:
    why = f" ({state.problem})" if state.problem else ""
    return f"{state.loop} of {state.worker} crashed {state.crashes} times{why}: restarting"


def _stalled(state: LoopState) -> str:
    return f"{state.loop} of {state.worker} did nothing for {state.ok_age_s:.0f} s {state.problem}".rstrip()
