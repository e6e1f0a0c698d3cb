"""The notification that the core database itself is down, which cannot be recorded in the database.

Each process sends it by itself, so that several which watch one hub send it several times: nothing that they
could use to agree is sure to work during an outage.
"""

import time
from collections.abc import Sequence

from aggregator.alerts import delivery, messages

REPEAT_INTERVAL_S = 3600.0
HOLD_S = 40.0
"""How long the database must be down before anything is sent: longer than a restart takes."""


class DatabaseOutage:
    """One process's view of the core database's absence. For one thread."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._sent_at = float("-inf")
        self._is_announced = False

    def continues(self, targets: Sequence[delivery.ChannelTarget]) -> None:
        """Note that the database is down; notify once it has been for HOLD_S, and every REPEAT_INTERVAL_S."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since >= HOLD_S and now - self._sent_at >= REPEAT_INTERVAL_S:
            self._sent_at, self._is_announced = now, True
            delivery.broadcast(targets, messages.DATABASE_DOWN)

    def is_over(self, targets: Sequence[delivery.ChannelTarget]) -> None:
        """Note that the database answers; notify if this process had announced that it did not."""
        self._since = None
        if self._is_announced:
            self._is_announced = False
            delivery.broadcast(targets, messages.DATABASE_BACK)
