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
