"""The check of the transparency log: checkpoints are made, and cover what was recorded."""

from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from aggregator.health.checks import Degraded, Failed
from aggregator.health.database_checks import DatabaseDependentCheck
from aggregator.models import TransparencyLog
from aggregator.transparency import log_tables

DEGRADED_WAIT = timedelta(seconds=20)
"""A pass takes a second or two; a batch of a backlog no longer."""
FAILED_WAIT = timedelta(seconds=60)


class TransparencyCheck(DatabaseDependentCheck):
    """Every recorded signal is covered by a checkpoint within a minute, where a log is kept."""

    def __init__(self, *, has_key: bool) -> None:
        super().__init__("transparency")
        self._has_key = has_key

    def run(self) -> tuple[str, str]:
        head = log_tables.head()
        with connection.cursor() as cursor:
            waiting = log_tables.waiting(cursor)
        if head is None and self._has_key:
            raise Degraded("no log has begun", "CORE_LOG_SIGNING_KEY is set: manage.py transparency init")
        if head is None:
            return "no log is kept", "to keep one: manage.py transparency init"
        if head.problem:
            raise Failed(head.problem, head.problem_detail)
        detail = _detail(head, waiting, timezone.now())
        if waiting > FAILED_WAIT:
            raise Failed("checkpoints are late", detail)
        if waiting > DEGRADED_WAIT:
            raise Degraded("checkpoints are late", detail)
        return "", detail


def _detail(head: TransparencyLog, waiting: timedelta, now: datetime) -> str:
    age = (now - head.checkpoint_at).total_seconds()
    late = f", a signal waits for {waiting.total_seconds():.0f} s" if waiting else ""
    return f"{head.checkpoint_size:,} leaves, checkpoint {age:.0f} s old{late}"
