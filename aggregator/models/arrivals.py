"""Rollups of arrivals."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class ArrivalRollup(models.Model):
    """Arrivals of one period from one agent over one transport."""

    ecosystem = models.TextField()
    agent_source = models.TextField("agent")
    transport = models.TextField()
    accepted = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    conflicts = models.BigIntegerField(default=0)
    refused = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class ArrivalMinute(ArrivalRollup):
    """The arrivals of one minute."""

    minute = models.DateTimeField()
    lags = ArrayField(
        models.BigIntegerField(),
        default=list,
        help_text="How many were recorded within each of `rollup_writer.LAG_BOUNDS` after their timestamp.",
    )

    class Meta:
        db_table = "arrival_minutes"
        db_table_comment = "Rollup of arrivals by minute, ecosystem, agent and transport"
        constraints = [
            models.UniqueConstraint(
                fields=["minute", "ecosystem", "agent_source", "transport"], name="arrival_minutes_key"
            )
        ]


class ArrivalHour(ArrivalRollup):
    """The arrivals of one hour: for a day's chart and a week's typical rate."""

    hour = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        db_table = "arrival_hours"
        db_table_comment = "Rollup of arrivals by hour, ecosystem, agent and transport"
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "ecosystem", "agent_source", "transport"], name="arrival_hours_key"
            )
        ]


class SenderMinute(models.Model):
    """What one sender sent in one minute, refused or not."""

    minute = models.DateTimeField()
    sender = models.TextField()
    accepted = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    conflicts = models.BigIntegerField(default=0)
    refused = models.BigIntegerField(default=0)
    new_names = models.BigIntegerField(
        default=0, help_text="Agents and symbols that were new; see `ledger.new_names`."
    )

    class Meta:
        db_table = "sender_minutes"
        db_table_comment = "What senders sent by minute: for alerts of refusals, and the limit of new names"
        constraints = [models.UniqueConstraint(fields=["minute", "sender"], name="sender_minutes_key")]


class ArrivalTotal(models.Model):
    """What `arrival_minutes` added up to until the minute `through`; see `aggregator.arrivals.counters`."""

    ecosystem = models.TextField()
    transport = models.TextField()
    measure = models.TextField(help_text="A fate, or lag:N for the Nth bucket of the lags.")
    total = models.BigIntegerField()
    through = models.DateTimeField()

    class Meta:
        db_table = "arrival_totals"
        db_table_comment = "Totals of arrival_minutes: the counters of /metrics, which must never fall"
        constraints = [
            models.UniqueConstraint(fields=["ecosystem", "transport", "measure"], name="arrival_totals_key")
        ]
