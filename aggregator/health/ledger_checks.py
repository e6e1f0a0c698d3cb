"""Checks of the ledger's positions, of what reads it behind its writer, and of its transparency log."""

from collections.abc import Sequence
from datetime import timedelta

from django.db import connection
from django.utils import timezone

from aggregator import followers
from aggregator.health.checks import Degraded, Failed
from aggregator.health.database_checks import DatabaseDependentCheck
from aggregator.ledger import generations, positions
from aggregator.transparency import log_tables

REMEDY = "run manage.py new_generation (docs/operations.md)"

DEGRADED_LAG = timedelta(seconds=5)
"""Followers poll several times a second; a large batch takes one a second or two."""
FAILED_LAG = timedelta(seconds=60)

DEGRADED_WAIT = timedelta(seconds=20)
"""A pass of the sealer takes a second or two; a batch of a backlog no longer."""
FAILED_WAIT = timedelta(seconds=60)


class LedgerCheck(DatabaseDependentCheck):
    """The ledger has not gone back, and positions and ids are drawn above those on record."""

    name = "ledger"

    def run(self) -> None:
        generation = generations.current_generation()
        lost = generations.went_back(generation)
        ahead = followers.ahead(generations.ledger_head())
        is_elsewhere = generations.is_elsewhere(generation)
        behind = positions.sequences_behind()
        if lost:
            raise Failed("went back", f"the signal at position {lost.position} is not on record; {REMEDY}")
        if ahead:
            raise Failed("went back", f"followers have passed its end: {', '.join(ahead)}; {REMEDY}")
        if behind:
            detail = f"{', '.join(behind)} behind the rows, as after a restore of data alone"
            if positions.ID_SEQUENCE in behind:
                raise Failed("a sequence is behind", f"{detail}; rows that agents insert get ids that exist")
            raise Degraded("a sequence is behind", f"{detail}; the next signal sets it right")
        if is_elsewhere:
            detail = "signals may be missing that readers have seen"
            raise Degraded("restored or promoted", f"{detail}; {REMEDY}")


class FollowersCheck(DatabaseDependentCheck):
    """Every follower applies a signal soon after it was recorded."""

    name = "followers"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)

    def run(self) -> tuple[str, str]:
        lags = followers.lags(self.names)
        detail = ", ".join(f"{name} {lag.total_seconds():.1f} s behind" for name, lag in lags.items())
        longest = max(lags.values(), default=timedelta())
        if longest > FAILED_LAG:
            raise Failed("far behind", detail)
        if longest > DEGRADED_LAG:
            raise Degraded("behind", detail)
        return ("", detail) if lags else ("none has run yet", "")


class TransparencyCheck(DatabaseDependentCheck):
    """Every recorded signal is covered by a checkpoint within a minute, where a log is kept."""

    name = "transparency"

    def __init__(self, *, has_key: bool) -> None:
        super().__init__()
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
        age = timezone.now() - head.checkpoint_at
        detail = f"{head.checkpoint_size:,} leaves, checkpoint {age.total_seconds():.0f} s old"
        if waiting:
            detail += f", a signal waits for {waiting.total_seconds():.0f} s"
        if waiting > FAILED_WAIT:
            raise Failed("checkpoints are late", detail)
        if waiting > DEGRADED_WAIT:
            raise Degraded("checkpoints are late", detail)
        return "", detail
