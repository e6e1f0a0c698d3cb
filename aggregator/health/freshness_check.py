"""Probe of what the hub is there for: do signals of an ecosystem come in while its market is open?"""

from datetime import datetime, timedelta

from django.template.defaultfilters import pluralize

from aggregator.arrivals import cadence
from aggregator.health.checks import Degraded, Status
from aggregator.health.database_checks import DatabaseDependentCheck, needed


class FreshnessCheck(DatabaseDependentCheck):
    """Whether an ecosystem is silent: no agent of it that keeps a cadence has kept it.

    Only degrades: the hub itself may be well. The first answer needs a trading calendar, which takes seconds.
    """

    worst = Status.DEGRADED
    background = True
    lasts_s = 15.0
    timeout = timedelta(seconds=10)

    def __init__(self, ecosystem: str) -> None:
        super().__init__(f"freshness:{ecosystem}")
        self.ecosystem = ecosystem

    def probe(self) -> tuple[str, str]:
        with needed():
            agents = cadence.silences(ecosystems=[self.ecosystem])
        if not agents:
            return "nothing has come yet", ""
        last = max(agents, key=lambda each: each.last_seen)
        told = f"last signal at {_moment(last.last_seen)}, {len(agents)} agent{pluralize(len(agents))}"
        if silent(agents) and any(agent.excused for agent in agents):
            return "its market is closed or has just opened", told
        if silent(agents):
            raise Degraded("silent", told)
        return "", told


def silent(agents: list[cadence.Silence]) -> bool:
    """Say whether these agents, all of one ecosystem, leave it silent."""
    late = [agent.too_long for agent in agents if agent.allowed is not None]
    others = [agent.last_seen for agent in agents if agent.allowed is None]
    if not late or not all(late):
        return False
    newest = max(agent.last_seen for agent in agents if agent.allowed is not None)
    return not others or max(others) <= newest


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
