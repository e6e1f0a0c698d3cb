"""The periodic work of commerce without Celery: what beat triggers there, by the same schedule."""

import time
from typing import Any

from django.conf import settings
from django.db import close_old_connections

from aggregator.ledger.errors import classified
from commerce import tasks

IDLE_S = 0.5
CHORES: tuple[Any, ...] = (
    tasks.expire_subscriptions,
    tasks.refresh_subscriptions,
)


class Chores:
    """A consumer (see `aggregator.consuming`) of what is due. Any number may run: each does the work anew."""

    def __init__(self) -> None:
        beat: Any = settings.CELERY_BEAT_SCHEDULE
        every = {entry["task"]: float(entry["schedule"]) for entry in beat.values()}
        self.every: dict[Any, float] = {chore: every[chore.name] for chore in CHORES}
        self.due_at: dict[Any, float] = dict.fromkeys(CHORES, 0.0)

    def run_once(self, *, wait: bool) -> int:  # noqa: ARG002 - nothing to wait for: the loop does
        """Do what is due; return how many chores that were. Raises Outage; then the chore is due still."""
        close_old_connections()
        done = 0
        for chore, due_at in self.due_at.items():
            if time.monotonic() >= due_at:
                with classified():
                    chore()
                self.due_at[chore] = time.monotonic() + self.every[chore]
                done += 1
        return done

    def close(self) -> None:
        """Nothing is under way between two turns."""
