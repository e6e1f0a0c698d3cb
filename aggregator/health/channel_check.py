"""The check of the alert channels themselves: one that rejects messages is noticed before it is needed."""

from django.template.defaultfilters import pluralize

from aggregator.health.checks import Degraded, Status
from aggregator.health.database_checks import DatabaseDependentCheck
from aggregator.models import AlertChannel


class AlertChannelsCheck(DatabaseDependentCheck):
    """Every channel accepted the last message sent over it. Only degrades."""

    max_status = Status.DEGRADED
    fresh_s = 5.0

    def __init__(self) -> None:
        super().__init__("alerts")

    def run(self) -> tuple[str, str]:
        channels = list(AlertChannel.objects.filter(enabled=True).order_by("name"))
        broken = [channel.name for channel in channels if channel.last_error]
        if broken:
            raise Degraded("a channel rejects alerts", ", ".join(broken))
        if not channels:
            return "no channel", "add one in the admin"
        return "", f"{len(channels)} channel{pluralize(len(channels))}"
