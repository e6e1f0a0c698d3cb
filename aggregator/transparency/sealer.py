"""The sealer: a follower that appends what was recorded to the log's tree, and publishes checkpoints.

Appending and publishing are two transactions. The leaves, whose nonces are random, are committed before a
checkpoint of them is signed: a crash in between leaves nothing signed that the tables do not hold.
"""

import logging
import time
from datetime import timedelta
from typing import Any

from django.db import connection

from aggregator import followers
from aggregator.followers import Follower
from aggregator.ledger.errors import classified
from aggregator.models import TransparencyLog
from aggregator.transparency import checkpoints, log_tables
from aggregator.transparency.leaves import recorded_events, recorded_signals
from aggregator.transparency.log_directory import CannotSeal, LogDirectory, log_directory

logger = logging.getLogger("signal_hub.log")

PASS_INTERVAL_S = 1.0
"""Signals of so long share a checkpoint, each of which is a file that is forced to disk."""
MAX_KEYLESS = timedelta(seconds=30)
"""For how long signals may wait before a worker without a key reports that none has one."""

BETWEEN = "position > %(after)s AND position <= %(upto)s"


class Sealer(Follower):
    """Appends leaves and publishes checkpoints. Any number may run: one at a time does both."""

    name = checkpoints.FOLLOWER
    idle_interval_s = 0.0
    """`run_once` waits by itself, also between batches that are not full."""

    def __init__(self) -> None:
        self._directory: LogDirectory = log_directory()
        self._next_pass = 0.0

    def run_once(self, *, wait: bool = False) -> int:
        """Append one batch, publish what is there; return by how many positions. Raises Outage."""
        if wait:
            time.sleep(max(0.0, self._next_pass - time.monotonic()))
        with classified():
            try:
                done = self._seal()
            except CannotSeal as problem:
                _report(problem)
                done = 0
        if done < self.batch:
            self._next_pass = time.monotonic() + PASS_INTERVAL_S
        return done

    def apply(self, cursor: Any, after: int, upto: int) -> None:
        """Append the signals of a batch. Raises CannotSeal."""
        size = self._extending_head(cursor).size
        log_tables.append_leaves(
            cursor, size, recorded_signals(cursor, BETWEEN, {"after": after, "upto": upto})
        )

    def _append_events(self) -> int:
        """Append a batch of outcome events, whose ids grow in the order of commits; return how many."""
        with followers.locked(self.name) as held, connection.cursor() as cursor:
            if held is None:
                return 0
            events = recorded_events(cursor, log_tables.BEHIND_LAST_EVENT, {"limit": self.batch})
            if events:
                log_tables.append_leaves(cursor, self._extending_head(cursor).size, events)
            return len(events)

    def _extending_head(self, cursor: Any) -> TransparencyLog:
        """Return the log's head, locked; the tree extends the last checkpoint. Raises CannotSeal."""
        head = log_tables.head(lock=True)
        assert head is not None, "it was there a moment ago, and nothing deletes it"
        copy = self._directory.copy()
        if copy != head.checkpoint:
            checkpoints.require_extends(cursor, head, copy)
        return head

    def _seal(self) -> int:
        """Append and publish, if a log is kept and this process has its key. Raises CannotSeal."""
        head = log_tables.head()
        if head is None:
            return 0
        keys = self._directory.keys()
        if not keys:
            _report_keyless()
            return 0
        done = super().run_once() + self._append_events()
        with followers.locked(self.name) as held, connection.cursor() as cursor:
            if held is not None and checkpoints.publish(cursor, self._directory, keys):
                logger.debug("checkpoint published")
            if held is not None and head.problem:
                TransparencyLog.objects.update(problem="", problem_detail="")
                logger.info("checkpoints are made again")
        return done


def _report(problem: CannotSeal) -> None:
    """Keep why no checkpoint can be made, for the health check."""
    found = {"problem": problem.summary, "problem_detail": problem.detail}
    if TransparencyLog.objects.exclude(**found).update(**found):
        logger.error("no checkpoint can be made: %s", problem)


def _report_keyless() -> None:
    """Report that there is no key, if no other worker seals either."""
    with connection.cursor() as cursor:
        waiting = log_tables.waiting(cursor)
    if waiting > MAX_KEYLESS:
        raise CannotSeal("no worker has the signing key", "CORE_LOG_DIR has no signing-key.pem")
