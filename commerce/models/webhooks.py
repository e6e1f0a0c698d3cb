"""Where signals are pushed to, what was sent there, and what came of it."""

import secrets

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from aggregator.models import ECOSYSTEM_CHOICES, TradingSignal
from commerce.models.subscriptions import Customer


def new_endpoint_id() -> str:
    """Return a public id: a number of its own would tell how many there are."""
    return f"we_{secrets.token_hex(10)}"


class Endpoint(models.Model):
    """An address of a customer's that follows the ledger: everything entitled up to `position` is planned."""

    class Channel(models.TextChoices):
        WEBHOOK = "webhook", "webhook"
        TELEGRAM = "telegram", "Telegram"
        DISCORD = "discord", "Discord"
        SLACK = "slack", "Slack"
        EMAIL = "email", "e-mail"

    class State(models.TextChoices):
        ACTIVE = "active", "active"
        PAUSED = "paused", "paused"
        DISABLED = "disabled", "disabled"

    public_id = models.CharField("id", max_length=32, unique=True, default=new_endpoint_id, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="endpoints")
    channel = models.CharField(max_length=8, choices=Channel, default=Channel.WEBHOOK)
    encrypted_address = models.BinaryField(editable=False, help_text="It may hold a token.")
    label = models.CharField("address", max_length=255, help_text="The address without what is secret in it.")
    description = models.CharField(max_length=255, blank=True)
    ecosystems = ArrayField(
        models.TextField(choices=ECOSYSTEM_CHOICES),
        default=list,
        blank=True,
        help_text="Those of the key that made it. None means all that the plan has.",
    )
    state = models.CharField(max_length=8, choices=State, default=State.ACTIVE)
    reason = models.TextField(blank=True, help_text="Why it was disabled.")
    state_at = models.DateTimeField(default=timezone.now, editable=False)
    notify = models.BooleanField(default=False, editable=False, help_text="Its owner is yet to be told.")
    generation = models.PositiveIntegerField(default=1, editable=False, help_text="Of the signing secret.")
    previous_until = models.DateTimeField(
        null=True, editable=False, help_text="Until when the secret before signs as well."
    )
    position = models.BigIntegerField(editable=False, help_text="Of the ledger: up to here all is planned.")
    failing_since = models.DateTimeField(null=True, editable=False, help_text="No success since then.")
    wake_at = models.DateTimeField(null=True, editable=False, help_text="When a message is due.")
    plan_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="When to look for new signals."
    )
    lease = models.UUIDField(null=True, editable=False, help_text="Of the worker that serves it now.")
    leased_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        db_table = "endpoints"
        indexes = [
            models.Index(fields=["wake_at"], name="endpoints_wake", condition=Q(state="active")),
        ]

    def __str__(self) -> str:
        return f"{self.get_channel_display()} {self.label}"


class Message(models.Model):
    """One message to one endpoint, whatever number of attempts it takes."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        DELIVERED = "delivered", "delivered"
        FAILED = "failed", "failed"
        WITHHELD = "withheld", "withheld"

    # Without a constraint, and left alone when an endpoint is deleted: there may be a million of them, which
    # the customer must not wait for. Nobody sees them without their endpoint, and they are pruned with age.
    endpoint = models.ForeignKey(
        Endpoint, on_delete=models.DO_NOTHING, db_constraint=False, related_name="messages"
    )
    message_id = models.CharField(
        "message", max_length=64, help_text="The same for every attempt: receivers deduplicate by it."
    )
    # Without a constraint: its check would take locks on the ledger's rows, which are never deleted anyway.
    signal = models.ForeignKey(
        TradingSignal, on_delete=models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )
    position = models.BigIntegerField(null=True, help_text="The signal's; empty for a test.")
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    attempt_count = models.PositiveIntegerField("attempts", default=0)
    due_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "webhook_messages"
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "message_id"], name="webhook_messages_key")
        ]
        indexes = [
            models.Index(
                fields=["endpoint", "due_at"], name="webhook_messages_due", condition=Q(state="waiting")
            ),
            models.Index(fields=["endpoint", "-id"], name="webhook_messages_latest"),
            models.Index(fields=["created_at"], name="webhook_messages_age"),
        ]

    def __str__(self) -> str:
        return self.message_id


class Attempt(models.Model):
    """One try at a message, and the answer."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    at = models.DateTimeField(default=timezone.now)
    status = models.PositiveIntegerField(help_text="Of HTTP; 0 where there was no answer.")
    error = models.TextField(blank=True)
    excerpt = models.TextField(blank=True, help_text="How the answer began.")
    duration_ms = models.PositiveIntegerField()

    class Meta:
        db_table = "webhook_attempts"
        ordering = ["id"]
        indexes = [models.Index(fields=["-at"], name="webhook_attempts_at")]
