"""The ledger. `migrations/` holds the DDL that agents in other languages rely on."""

from typing import Any

from django.db import models
from django.db.models.functions import Now

from ecosystems.market.feeds import REPLAY, SYNTHETIC

TRANSPORT_CHOICES = (("database", "database"), ("redis", "redis"), ("webhook", "webhook"))
ECOSYSTEM_CHOICES = (("crypto", "crypto"), ("forex", "forex"), ("stock", "stock"))


class NumericField(models.Field):  # type: ignore[type-arg] # generic in its types only
    """An exact decimal of any scale; Django's own has the same number of places in each row."""

    def db_type(self, connection: Any) -> str:  # noqa: ARG002
        return "numeric"


class TradingSignal(models.Model):
    """One signal of the ledger. Agents may insert rows; only `aggregator.ledger` gives them a position."""

    id = models.BigAutoField(primary_key=True)
    signal_id = models.TextField("signal id")
    ecosystem = models.TextField(choices=ECOSYSTEM_CHOICES)
    timestamp = models.DateTimeField(help_text="When the agent saw it.")
    symbol = models.TextField(help_text="As the agent writes it.")
    instrument = models.TextField(help_text="The canonical symbol.")
    action = models.TextField()
    signal_type = models.TextField()
    entry_price = NumericField(null=True)
    stop_loss = NumericField(null=True)
    take_profit = NumericField(null=True)
    volume = NumericField(null=True)
    confidence = models.FloatField(null=True)
    agent_source = models.TextField("agent")
    tags = models.JSONField()
    raw_payload = models.JSONField()
    refers_to = models.TextField(  # noqa: DJ001 - as the agents' tables and JSON have it
        null=True, help_text="The signal_id of the signal that this one closes or amends."
    )
    transport = models.TextField(choices=TRANSPORT_CHOICES)
    sender = models.TextField(
        help_text="Who proved it: a key or a database role; else the address or stream it came from."
    )
    received_at = models.DateTimeField()
    first_received_at = models.DateTimeField(
        null=True, help_text="Of a replayed dead letter: when it came in."
    )
    digest = models.BinaryField(null=True)
    recorded_at = models.DateTimeField(null=True, help_text="When the hub recorded it.")
    position = models.BigIntegerField(null=True, unique=True)

    class Meta:
        db_table = "trading_signals"
        verbose_name = "signal"
        constraints = [
            models.UniqueConstraint(fields=["ecosystem", "signal_id"], name="trading_signals_identity"),
        ]
        # What the operator's list searches by, each in the list's own order. Every further index costs the
        # ledger's throughput: ecosystem, transport and time are found by walking the primary key instead.
        indexes = [
            models.Index(fields=["instrument", "id"], name="trading_signals_instrument"),
            models.Index(fields=["agent_source", "id"], name="trading_signals_agent"),
            # Few signals refer to another.
            models.Index(
                fields=["refers_to", "id"],
                name="trading_signals_refers_to",
                condition=models.Q(refers_to__isnull=False),
            ),
            # What a source sent last: of no other sender's signals, so that only hooks pay for it.
            models.Index(
                models.F("sender"),
                models.F("received_at").desc(),
                name="trading_signals_of_sources",
                condition=models.Q(sender__startswith="source:"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.ecosystem}/{self.signal_id}"

    @property
    def simulation(self) -> str:
        """Return the tag of a signal that is about the past, or about made-up prices; empty for any other."""
        return next((tag for tag in (REPLAY, SYNTHETIC) if tag in self.tags), "")


class RepeatedRow(models.Model):
    """A row that an agent inserted under an identity that is taken. A trigger writes it."""

    id = models.BigAutoField(primary_key=True)
    sender = models.TextField()
    received_at = models.DateTimeField(db_default=Now())
    signal = models.TextField(help_text="The row as JSON.")

    class Meta:
        db_table = "repeated_rows"
        db_table_comment = (
            "Rows that agents inserted under an identity that is taken, until the hub has compared them"
        )


class Sighting(models.Model):
    """That a signal came again with the same content: over which transport, from whom, how often and when."""

    # No constraint in the database: its check would wait for a row that `record_inserted_rows` has claimed.
    signal = models.ForeignKey(
        TradingSignal,
        on_delete=models.CASCADE,
        related_name="sightings",
        db_constraint=False,
        db_index=False,
    )
    transport = models.TextField(choices=TRANSPORT_CHOICES)
    sender = models.TextField(blank=True)
    times = models.BigIntegerField(default=1, help_text="How often it came again.")
    seen_at = models.DateTimeField(help_text="When it came last.")

    class Meta:
        db_table = "sightings"
        db_table_comment = "Duplicates: how often a signal came again with the same content, and when last"
        constraints = [
            models.UniqueConstraint(fields=["signal", "transport", "sender"], name="sightings_key"),
        ]
        indexes = [models.Index(fields=["seen_at"], name="sightings_seen_at")]


class LedgerGeneration(models.Model):
    """Positions of this generation are above `floor`; see `aggregator.ledger.generations`."""

    number = models.IntegerField(primary_key=True)
    ledger = models.UUIDField(help_text="The same in all generations of a ledger, and in no other one.")
    floor = models.BigIntegerField(help_text="No position of this generation is at or below it.")
    head = models.BigIntegerField(help_text="The greatest position on record when it was begun.")
    server = models.TextField(help_text="Which server and table it was begun on.")
    began_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_generations"
        db_table_comment = "Where positions went on after a restore or a failover"
