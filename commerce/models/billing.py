"""What Stripe has told."""

from django.db import models
from django.utils import timezone


class StripeEvent(models.Model):
    """An event of Stripe's that was handled: its id makes a second coming harmless."""

    event_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=255)
    object_id = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(help_text="When Stripe made it.")
    handled_at = models.DateTimeField(default=timezone.now)
    outcome = models.TextField(blank=True, help_text="What it changed.")

    class Meta:
        db_table = "stripe_events"
        indexes = [models.Index(fields=["-created_at"], name="stripe_events_created")]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"
