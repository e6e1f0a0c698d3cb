"""Alerts, the channels that they are sent to, notifications, and the policy for all of these."""

from datetime import time

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models


def default_repeats() -> list[int]:
    return [1, 4, 24]


class AlertPolicy(models.Model):
    """The thresholds of the alert rules and the schedule of notifications. One row."""

    repeat_hours = ArrayField(
        models.PositiveIntegerField(validators=[MinValueValidator(1)]),
        default=default_repeats,
        help_text="Hours between notifications while an alert stays open, in order; the last is repeated.",
    )
    refusal_percent = models.PositiveIntegerField(
        default=20,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Share of a sender's signals within ten minutes that were refused or in conflict.",
    )
    refusal_count = models.PositiveIntegerField(
        default=10,
        validators=[MinValueValidator(1)],
        help_text="Smallest number of refused or conflicting signals that alerts.",
    )
    stream_lag = models.PositiveIntegerField(
        default=10_000,
        validators=[MinValueValidator(1)],
        help_text="Unread entries in one stream above which it alerts.",
    )
    all_clear_at = models.TimeField(
        default=time(8),
        help_text="UTC time of the daily all-clear. If it does not arrive, something is wrong.",
    )
    all_clear_on = models.DateField(null=True, editable=False)

    class Meta:
        db_table = "alert_policy"
        verbose_name_plural = "alert policy"
        db_table_comment = "Thresholds of the alert rules and schedule of notifications; one row"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="alert_policy_one_row")]

    def __str__(self) -> str:
        return "policy"

    @classmethod
    def current(cls) -> "AlertPolicy":
        """Return the one row, created on first use."""
        return cls.objects.get_or_create(pk=1)[0]


class AlertChannel(models.Model):
    """A destination of alerts: an Apprise URL, encrypted because most hold a token."""

    name = models.CharField(max_length=100, unique=True)
    encrypted_url = models.BinaryField(editable=False)
    enabled = models.BooleanField(default=True)
    last_sent_at = models.DateTimeField(null=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)

    class Meta:
        db_table = "alert_channels"
        db_table_comment = "Destinations of alerts; the URLs are encrypted"

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """A condition that holds, or held until `resolved_at`."""

    RULES = (
        ("agent_silent", "agent silent"),
        ("ecosystem_silent", "ecosystem silent"),
        ("refusals", "refusals"),
        ("stream_lag", "stream lag"),
        ("check_failed", "check failed"),
    )

    rule = models.TextField(choices=RULES)
    subject = models.TextField()
    text = models.TextField()
    since = models.DateTimeField(help_text="When the condition was first found.")
    found_at = models.DateTimeField(help_text="When the condition was last found.")
    fired_at = models.DateTimeField(null=True)
    resolved_at = models.DateTimeField(null=True)
    notifications = models.IntegerField(default=0, help_text="Notifications sent, excluding recovery.")
    repeat_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "alerts"
        db_table_comment = "Alerts; an unresolved one is unique by rule and subject"
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "subject"], condition=models.Q(resolved_at=None), name="alerts_open"
            )
        ]
        indexes = [models.Index(fields=["-since"], name="alerts_since")]

    def __str__(self) -> str:
        return f"{self.get_rule_display()}: {self.subject}"


class AlertNotification(models.Model):
    """One message to one channel: sent once, retried while the channel rejects it."""

    channel = models.ForeignKey(AlertChannel, on_delete=models.CASCADE, related_name="notifications")
    severity = models.TextField()
    title = models.TextField()
    body = models.TextField()
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True, help_text="When an attempt began whose result is not known.")
    attempts = models.IntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    given_up_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "alert_notifications"
        db_table_comment = "Messages to alert channels: waiting, sent and given up"
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=models.Q(sent_at=None, given_up_at=None),
                name="alert_notifications_waiting",
            )
        ]

    def __str__(self) -> str:
        return self.title
