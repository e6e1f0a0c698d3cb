"""Endpoints of customers, the messages that are sent there, and each attempt to send one."""

import secrets
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from aggregator.models import ECOSYSTEM_CHOICES, FollowerCursor, OutcomeEvent, TradingSignal
from commerce.models.subscriptions import Customer


def new_endpoint_id() -> str:
    """Return a random public id; a running number would reveal how many endpoints there are."""
    return f"we_{secrets.token_hex(10)}"


class EndpointQuerySet(models.QuerySet["Endpoint"]):
    def free(self) -> "EndpointQuerySet":
        """Return the endpoints to which something may be sent now."""
        return self.filter(state=Endpoint.State.ACTIVE, free_at__lte=Now())

    def with_clock(self) -> "EndpointQuerySet":
        """Return the endpoints with `now`, the database's clock: those of several workers may differ."""
        return self.annotate(now=Now())  # type: ignore[no-redef]


class Endpoint(models.Model):
    """A customer's URL or chat, and a follower of the ledger: up to its cursor all messages are created."""

    CURSOR_PREFIX = "endpoint:"
    """Of the names of endpoints' cursors among the followers; the public id follows."""

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
        help_text="Those of the key that created it. Empty means all that the plan has.",
    )
    state = models.CharField(max_length=8, choices=State, default=State.ACTIVE)
    reason = models.TextField(blank=True, help_text="Why it was disabled.")
    state_at = models.DateTimeField(default=timezone.now, editable=False)
    notify_at = models.DateTimeField(
        null=True, editable=False, help_text="When to mail its owner that it was disabled; empty: not due."
    )
    generation = models.PositiveIntegerField(default=1, editable=False, help_text="Of the signing secret.")
    previous_until = models.DateTimeField(
        null=True, editable=False, help_text="Until when the previous secret signs as well."
    )
    cursor = models.OneToOneField(
        FollowerCursor, on_delete=models.RESTRICT, related_name="endpoint", editable=False
    )
    outcomes = models.BooleanField(
        default=True, db_default=True, help_text="Whether it gets what is decided of calls, too."
    )
    outcomes_to = models.BigIntegerField(
        default=0, db_default=0, editable=False, help_text="The last outcome event that was looked at for it."
    )
    failing_since = models.DateTimeField(null=True, editable=False, help_text="No success since then.")
    is_slow = models.BooleanField(
        default=False, editable=False, help_text="Its last attempt failed or took longer than a second."
    )
    free_at = models.DateTimeField(
        default=timezone.now,
        editable=False,
        help_text="Nothing is sent before: an attempt is under way, or the endpoint rests after a failure.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    now: datetime

    objects = EndpointQuerySet.as_manager()

    class Meta:
        db_table = "endpoints"

    def __str__(self) -> str:
        return f"{self.get_channel_display()} {self.label}"


class MessageQuerySet(models.QuerySet["Message"]):
    def due(self) -> "MessageQuerySet":
        """Return the messages that wait for an attempt now, in the order in which they are sent."""
        waiting = self.filter(state=Message.State.WAITING, due_at__lte=Now())
        return waiting.order_by("due_at", "position", "pk")


class Message(models.Model):
    """A signal or a test for one endpoint, whatever number of attempts it takes."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        DELIVERED = "delivered", "delivered"
        FAILED = "failed", "failed"
        WITHHELD = "withheld", "withheld"

    # Without a constraint, and left alone when an endpoint is deleted: there may be a million of them, which
    # the customer must not wait for. They are not listed without their endpoint, and are deleted with age.
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
    outcome_event = models.ForeignKey(
        OutcomeEvent,
        on_delete=models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
        help_text="Of a message about an outcome: what was decided of the signal.",
    )
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    attempt_count = models.PositiveIntegerField("attempts", default=0)
    due_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    objects = MessageQuerySet.as_manager()

    class Meta:
        db_table = "webhook_messages"
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "message_id"], name="webhook_messages_key")
        ]
        indexes = [
            models.Index(
                fields=["endpoint", "due_at", "position", "id"],
                name="webhook_messages_due",
                condition=models.Q(state="waiting"),
            ),
            # Finds out that nothing is due: 18 ms in place of 57 for 5,000 endpoints with 95,000 waiting.
            models.Index(
                fields=["due_at"], name="webhook_messages_waiting", condition=models.Q(state="waiting")
            ),
            models.Index(fields=["endpoint", "-id"], name="webhook_messages_latest"),
            models.Index(fields=["created_at"], name="webhook_messages_age"),
        ]

    def __str__(self) -> str:
        return self.message_id

    @property
    def next_attempt_at(self) -> datetime | None:
        """When it is sent next; of a finished message, `due_at` is when its last claim would have expired."""
        return self.due_at if self.state == self.State.WAITING else None


class Attempt(models.Model):
    """One try to send a message, and the response."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    at = models.DateTimeField(default=timezone.now)
    status = models.PositiveIntegerField(help_text="Of HTTP; 0 where there was no response.")
    error = models.TextField(blank=True)
    excerpt = models.TextField(blank=True, help_text="How the response began.")
    duration_ms = models.PositiveIntegerField()

    class Meta:
        db_table = "webhook_attempts"
        ordering = ["id"]
        indexes = [models.Index(fields=["-at"], name="webhook_attempts_at")]
