"""Slow jobs, listed in `settings.PERIODIC_JOBS`: each runs once an interval, on whichever worker is first.

A job is claimed by one conditional statement before it runs. One that fails or is cut off runs again after
its interval, so each is made so that a missed run is made up for by the next.
"""

import logging
from functools import partial

from django.conf import settings
from django.db import connection
from django.utils.module_loading import import_string

from aggregator.ledger.errors import classified
from aggregator.worker import Loop

logger = logging.getLogger("signal_hub.worker")

LOOP = "periodic"
"""The name of the loop that runs the jobs; a Celery worker leaves it to beat."""

CLAIM = """
    WITH jobs AS (
        SELECT name, make_interval(secs => interval_s) AS pause, number
        FROM unnest(%(names)s::text[], %(intervals)s::float8[])
            WITH ORDINALITY AS job (name, interval_s, number))
    INSERT INTO periodic_jobs AS known (name, last_run_at)
    SELECT name, now() FROM jobs LEFT JOIN periodic_jobs USING (name)
    WHERE last_run_at IS NULL OR last_run_at <= now() - pause
    ORDER BY last_run_at NULLS FIRST, number LIMIT 1
    ON CONFLICT (name) DO UPDATE SET last_run_at = now()
        WHERE known.last_run_at <= now() - (SELECT pause FROM jobs WHERE jobs.name = known.name)
    RETURNING name"""


class PeriodicJobs(Loop):
    """The jobs that are due. Its methods are for one thread."""

    idle_interval_s = 5.0

    def __init__(self) -> None:
        jobs = settings.PERIODIC_JOBS.items()
        self._functions = {name: partial(import_string(path), *rest) for name, (path, _, *rest) in jobs}
        self._due = {"names": list(self._functions), "intervals": [job[1] for _, job in jobs]}

    def run_once(self, *, wait: bool = False) -> int:  # noqa: ARG002 - there is nothing to wait for
        """Run the job that has been due for longest; return 1, or 0 where none is due. Raises Outage."""
        with classified():
            with connection.cursor() as cursor:
                cursor.execute(CLAIM, self._due)
                claimed = cursor.fetchone()
            if claimed is None:
                return 0
            self._functions[claimed[0]]()
        logger.debug("job=%s done", claimed[0])
        return 1
