"""What Celery's beat triggers."""

from celery import shared_task

from aggregator import worker_states
from aggregator.ledger.errors import Outage
from aggregator.periodic import LOOP, PeriodicJobs
from aggregator.worker_states import LoopState


@shared_task(ignore_result=True)
def run_periodic_jobs() -> None:
    """Run the jobs that are due, and note that beat and a worker are there to do it."""
    try:
        worker_states.write_states([LoopState("celery-beat", LOOP, 0.0)])
        jobs = PeriodicJobs()
        while jobs.run_once():
            pass
    except Outage:
        pass  # beat triggers it again
