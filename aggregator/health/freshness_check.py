"""The check of what the hub is there for: signals of an ecosystem come in while its market is open."""

from django.template.defaultfilters import pluralize

from aggregator.arrivals import cadence
from aggregator.health.checks import Degraded, Status
from aggregator.health.database_checks import DatabaseDependentCheck, database_required


class FreshnessCheck(DatabaseDependentCheck):
    """An ecosystem is not silent: at least one of its agents keeps its cadence.

    Only degrades, since the hub itself may work. The first run loads a trading calendar, which takes seconds.
    """

    max_status = Status.DEGRADED
    in_background = True
    fresh_s = 15.0
    timeout_s = 11.0

    def __init__(self, ecosystem: str) -> None:
        super().__init__(f"freshness:{ecosystem}")
        self.ecosystem = ecosystem

    def run(self) -> tuple[str, str]:
        with database_required():
            agents = cadence.silences(ecosystems=[self.ecosystem])
        if not agents:
            return "no signals yet", ""
        last = max(agent.last_seen for agent in agents)
        detail = f"last signal at {last:%Y-%m-%dT%H:%M:%SZ}, {len(agents)} agent{pluralize(len(agents))}"
        if not cadence.is_silent(agents):
            return "", detail
        if any(agent.excused for agent in agents):
            return "market closed or just opened", detail
        raise Degraded("silent", detail)
