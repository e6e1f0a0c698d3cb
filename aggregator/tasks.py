"""Periodic work, run by Celery."""

from celery import shared_task
from django.conf import settings

from aggregator.ingest.databases import DatabaseConsumer
from aggregator.ledger.errors import Outage

MOST_BATCHES = 50
"""Batches in one task, so that a large backlog does not keep a worker's process from the other tasks."""


@shared_task(ignore_result=True)
def consume_databases() -> None:
    """Start `consume_database` for the core database and each ecosystem's own."""
    for alias in settings.DATABASES:
        consume_database.apply_async((alias,), expires=settings.DATABASE_TURN_S * 4)


@shared_task(ignore_result=True)
def consume_database(alias: str) -> int:
    """Record the rows that agents inserted into one database; return how many were settled."""
    consumer = DatabaseConsumer(alias)
    settled = 0
    for _ in range(MOST_BATCHES):
        try:
            count = consumer.run_once()
        except Outage:
            break  # the rows stay where they are; the next turn tries again
        settled += count
        if not count:
            break
    return settled
