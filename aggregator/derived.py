"""Tables that are made of the rollups, and could be made again."""

from django.db import models

from aggregator.models import Agent


class AgentCadence(models.Model):
    """How often an agent usually sends, as its arrivals teach; see `aggregator.cadence`."""

    agent = models.OneToOneField(Agent, on_delete=models.CASCADE, primary_key=True, related_name="cadence")
    gap = models.DurationField(help_text="95th percentile of the open time between minutes with arrivals.")
    gaps = models.IntegerField(help_text="How many gaps that was learned from.")
    learned_at = models.DateTimeField()

    class Meta:
        db_table = "agent_cadences"
        db_table_comment = "How often agents usually send, learned from arrival_minutes"


class ArrivalTotal(models.Model):
    """What `arrival_minutes` added up to until the minute `through`; see `aggregator.metrics.totals`."""

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
