"""The loop that remembers the ledger's head outside Postgres, so that a restore or a failover is noticed."""

from aggregator.ledger import generations
from aggregator.ledger.errors import classified
from aggregator.worker import Loop


class HeadKeeper(Loop):
    """Remembers the head while it moves; see `aggregator.ledger.generations`."""

    idle_interval_s = 0.5

    def run_once(self, *, wait: bool = False) -> int:  # noqa: ARG002 - a loop's signature; there is nothing to await
        """Remember the head once, and return 0: its next look has time. Raises Outage."""
        with classified():
            generations.keep_head()
        return 0
