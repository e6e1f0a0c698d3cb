"""What customers used, and the streams that they have open."""

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from commerce.models.subscriptions import Customer


class UsageDay(models.Model):
    """What a customer used on a day (UTC)."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="usage")
    day = models.DateField()
    requests = models.BigIntegerField(default=0)
    signals = models.BigIntegerField(default=0)

    class Meta:
        db_table = "usage_days"
        constraints = [models.UniqueConstraint(fields=["customer", "day"], name="usage_days_key")]


class StreamSlot(models.Model):
    """An open stream. It counts while its process renews it."""

    id = models.UUIDField(primary_key=True)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="stream_slots")
    process = models.UUIDField()
    acquired_at = models.DateTimeField(default=timezone.now, db_default=Now())
    renewed_at = models.DateTimeField()

    class Meta:
        db_table = "stream_slots"
        indexes = [models.Index(fields=["process"], name="stream_slots_process")]


class SeriesProgress(models.Model):
    """Up to which position the ledger is rolled up into series: one row."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    position = models.BigIntegerField()

    class Meta:
        db_table = "feed_series_progress"


class FeedSeries(models.Model):
    """Where in the ledger an agent's signals for an instrument lie."""

    ecosystem = models.TextField()
    instrument = models.TextField()
    agent_source = models.TextField()
    first_position = models.BigIntegerField()
    last_position = models.BigIntegerField()

    class Meta:
        db_table = "feed_series"
        constraints = [
            models.UniqueConstraint(
                fields=["ecosystem", "instrument", "agent_source"], name="feed_series_key"
            )
        ]
