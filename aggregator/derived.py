"""Tables that are made of the rollups, and could be made again."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from aggregator.models import Agent


class AgentCadence(models.Model):
    """How often an agent usually sends, as its arrivals teach; see `aggregator.cadence`."""

    agent = models.OneToOneField(Agent, on_delete=models.CASCADE, primary_key=True, related_name="cadence")
    gap = models.DurationField(
        null=True,
        help_text="95th percentile of the open time between minutes with arrivals; null for too few.",
    )
    gaps = models.IntegerField(help_text="How many gaps that was learned from.")
    minutes = ArrayField(
        models.IntegerField(),
        default=list,
        db_default=[],
        help_text="The latest minutes with arrivals, counted since 1970.",
    )
    learned_at = models.DateTimeField()

    class Meta:
        db_table = "agent_cadences"
        db_table_comment = "How often agents usually send, learned from arrival_minutes"


class ArrivalTotal(models.Model):
    """What `arrival_minutes` added up to until the minute `through`; see `aggregator.totals`."""

    ecosystem = models.TextField()
    transport = models.TextField()
    measure = models.TextField(help_text="A verdict, or lag:N for the Nth bucket of the lags.")
    total = models.BigIntegerField()
    through = models.DateTimeField()

    class Meta:
        db_table = "arrival_totals"
        db_table_comment = "Totals of arrival_minutes: the counters of /metrics, which must never fall"
        constraints = [
            models.UniqueConstraint(fields=["ecosystem", "transport", "measure"], name="arrival_totals_key")
        ]
