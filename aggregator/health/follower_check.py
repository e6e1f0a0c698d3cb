"""The check of what reads the ledger behind its writer: rollups, deliveries and the like keep up."""

from collections.abc import Sequence
from datetime import timedelta

from aggregator import followers
from aggregator.health.checks import Degraded, Failed
from aggregator.health.database_checks import DatabaseDependentCheck

DEGRADED_LAG = timedelta(seconds=5)
"""Followers poll several times a second; a large batch takes one a second or two."""
FAILED_LAG = timedelta(seconds=60)


class FollowersCheck(DatabaseDependentCheck):
    """Every follower applies a signal soon after it was recorded."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__("followers")
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
