"""What is wrong, who is told, and what was said."""

from datetime import time

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models


def default_repeats() -> list[int]:
    return [1, 4, 24]


class AlertPolicy(models.Model):
    """When to alert, and how often. One row."""

    repeat_hours = ArrayField(
        models.PositiveIntegerField(validators=[MinValueValidator(1)]),
        default=default_repeats,
        help_text="Hours after which an alert that goes on is repeated, in turn; the last one goes on.",
    )
    refusal_percent = models.PositiveIntegerField(
        default=20,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Refused signals and conflicts of an agent within ten minutes, of all that it sent.",
    )
    refusal_count = models.PositiveIntegerField(
        default=10, validators=[MinValueValidator(1)], help_text="How many of them there must be at least."
    )
    stream_lag = models.PositiveIntegerField(
        default=10_000, validators=[MinValueValidator(1)], help_text="Unread entries of one stream."
    )
    all_clear_at = models.TimeField(
        default=time(8), help_text="When the daily all-clear is sent, in UTC. Its absence is an alert too."
    )
    all_clear_on = models.DateField(null=True, editable=False)

    class Meta:
        db_table = "alert_policy"
        verbose_name_plural = "alert policy"
        db_table_comment = "When to alert and how often; one row"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="alert_policy_one_row")]

    def __str__(self) -> str:
        return "policy"

    @classmethod
    def current(cls) -> "AlertPolicy":
        """Return the one row; made on first use."""
        return cls.objects.get_or_create(pk=1)[0]


class AlertChannel(models.Model):
    """Where alerts go: an apprise URL, which mostly holds a token."""

    name = models.CharField(max_length=100, unique=True)
    encrypted_url = models.BinaryField(editable=False)
    enabled = models.BooleanField(default=True)
    last_sent_at = models.DateTimeField(null=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)

    class Meta:
        db_table = "alert_channels"
        db_table_comment = "Where alerts go; the URLs are encrypted"

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """Something that is, or was, wrong."""

    RULES = (
        ("agent_silent", "agent silent"),
        ("ecosystem_silent", "ecosystem silent"),
        ("refusals", "refusals"),
        ("stream_lag", "stream lag"),
        ("probe_failed", "probe failed"),
    )

    rule = models.TextField(choices=RULES)
    subject = models.TextField()
    text = models.TextField()
    since = models.DateTimeField(help_text="When it was found first.")
    found_at = models.DateTimeField(help_text="When it was found last.")
    fired_at = models.DateTimeField(null=True)
    over_at = models.DateTimeField(null=True)
    notices = models.IntegerField(default=0, help_text="How often it was told, without the end.")
    repeat_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "alerts"
        db_table_comment = "Alerts; one that is not over is unique by rule and subject"
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "subject"], condition=models.Q(over_at=None), name="alerts_open"
            )
        ]
        indexes = [models.Index(fields=["-since"], name="alerts_since")]

    def __str__(self) -> str:
        return f"{self.get_rule_display()}: {self.subject}"


class AlertNotice(models.Model):
    """One message to one channel: sent once, tried again while the channel does not take it."""

    channel = models.ForeignKey(AlertChannel, on_delete=models.CASCADE, related_name="notices")
    severity = models.TextField()
    title = models.TextField()
    body = models.TextField()
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True)
    begun_at = models.DateTimeField(null=True, help_text="When it was handed over, while no answer is known.")
    attempts = models.IntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    given_up_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "alert_notices"
        db_table_comment = "Messages to alert channels: waiting, sent and given up"
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=models.Q(sent_at=None, given_up_at=None),
                name="alert_notices_waiting",
            )
        ]

    def __str__(self) -> str:
        return self.title
