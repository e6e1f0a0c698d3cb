"""Entries that could not become signals."""

from django.db import models

from aggregator.models.signals import TRANSPORT_CHOICES


class DeadLetter(models.Model):
    """An entry that could not become a signal, with its bytes and the reason."""

    fingerprint = models.BinaryField(
        unique=True, help_text="SHA-256 of where it came from, why, and its bytes."
    )
    transport = models.TextField(choices=TRANSPORT_CHOICES)
    code = models.TextField()
    field = models.TextField(blank=True)
    detail = models.TextField()
    raw = models.BinaryField(help_text="Its bytes, or the first 64 KiB of them.")
    length = models.BigIntegerField(
        null=True, blank=True, help_text="Of an entry that was cut: all its bytes."
    )
    sha256 = models.BinaryField("SHA-256", null=True, help_text="Of an entry that was cut: of all its bytes.")
    ecosystem = models.TextField(blank=True)
    signal_id = models.TextField("signal id", blank=True)
    agent_source = models.TextField("agent", blank=True)
    sender = models.TextField(
        blank=True,
        help_text="Who proved it: a key or a database role; else the address or stream it came from.",
    )
    stream = models.TextField(blank=True)
    entry_id = models.TextField(blank=True)
    deliveries = models.IntegerField(default=1)
    times = models.IntegerField(default=1, help_text="How often the very same came in.")
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "dead_letters"
        verbose_name = "dead letter"
        db_table_comment = "Entries that could not become signals, with their raw bytes and the reason"
        # The list and its groups, a group's own list, and `trimmed_unread`, counted at each look at a stream.
        # Measured at 1,000,000 letters: 0.4 s for each of them without, 0 to 35 ms with.
        indexes = [
            models.Index(fields=["-last_at"], name="dead_letters_last_at"),
            models.Index(
                models.F("last_at").desc(),
                models.F("id").desc(),
                condition=models.Q(resolved_at=None),
                include=("code", "agent_source", "ecosystem", "times"),
                name="dead_letters_unresolved",
            ),
            models.Index(
                models.F("code"),
                models.F("agent_source"),
                models.F("ecosystem"),
                models.F("last_at").desc(),
                models.F("id").desc(),
                condition=models.Q(resolved_at=None),
                name="dead_letters_groups",
            ),
            models.Index(
                models.F("sender"),
                models.F("last_at").desc(),
                name="dead_letters_of_sources",
                condition=models.Q(sender__startswith="source:"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.ecosystem}/{self.signal_id}".rstrip(" /")

    @property
    def is_cut(self) -> bool:
        """Return whether only a part of the entry was kept."""
        return self.sha256 is not None


class DeadLetterBytes(models.Model):
    """How many bytes of a sender the dead letters of a day hold; see `aggregator.ledger.dead_letters`."""

    sender = models.TextField(unique=True)
    day = models.DateField()
    bytes = models.BigIntegerField()

    class Meta:
        db_table = "dead_letter_bytes"
        db_table_comment = "What each sender's dead letters of a day take, for its limit"
