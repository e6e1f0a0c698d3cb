"""The check of what the hub is there for: signals of an ecosystem come in while its market is open."""

from django.template.defaultfilters import pluralize

from aggregator.arrivals.silence import AgentCounts, Judge
from aggregator.health.checks import CheckResult, Degraded, Status
from aggregator.health.database_checks import DatabaseDependentCheck


class FreshnessCheck(DatabaseDependentCheck):
    """An ecosystem is not silent: at least one of its agents keeps its cadence.

    Only degrades, since the hub itself may work. The first run loads a trading calendar, which takes seconds.
    """

    max_status = Status.DEGRADED
    in_background = True
    fresh_s = 15.0
    timeout_s = 11.0

    def __init__(self, ecosystem: str) -> None:
        super().__init__()
        self.name, self.ecosystem = f"freshness:{ecosystem}", ecosystem

    def run(self) -> tuple[str, str]:
        counts = Judge(ecosystems=[self.ecosystem]).counts()
        return found(counts.get(self.ecosystem, AgentCounts()))

    def result_of(self, counts: AgentCounts) -> CheckResult:
        """Return the result that follows from counts which are known already."""
        return self._result_of(lambda: found(counts))


def found(counts: AgentCounts) -> tuple[str, str]:
    """Return the texts of a check result. Raises Degraded where every agent is silent without an excuse."""
    if counts.last_seen is None:
        return "no signals yet", ""
    detail = (
        f"last signal at {counts.last_seen:%Y-%m-%dT%H:%M:%SZ},"
        f" {counts.too_long} of {counts.total} agent{pluralize(counts.total)} silent"
    )
    if not counts.all_silent:
        return "", detail
    if counts.excused:
        return "market closed or just opened", detail
    raise Degraded("silent", detail)
