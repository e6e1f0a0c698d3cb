"""Probe of the alert channels themselves: one that takes nothing is noticed before it is needed."""

from django.template.defaultfilters import pluralize

from aggregator.health.checks import Degraded, Status
from aggregator.health.database_checks import DatabaseDependentCheck, needed
from aggregator.models import AlertChannel


class AlertChannelsCheck(DatabaseDependentCheck):
    """Whether every channel took what was last sent over it. Only degrades."""

    worst = Status.DEGRADED
    lasts_s = 15.0

    def __init__(self) -> None:
        super().__init__("alerts")

    def probe(self) -> tuple[str, str]:
        with needed():
            channels = list(AlertChannel.objects.filter(enabled=True).order_by("name"))
        broken = [channel.name for channel in channels if channel.last_error]
        if broken:
            raise Degraded("a channel does not take alerts", ", ".join(broken))
        return (
            ("", f"{len(channels)} channel{pluralize(len(channels))}")
            if channels
            else ("no channel", "add one in the admin")
        )
